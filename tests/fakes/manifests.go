package fakes

import "embed"

// Manifests has the manifest that describes the fake CRM, "fake.yaml". Its
// server option base_url chooses the mode: http://127.0.0.1:PORT/slow.
//
//go:embed manifests/*.yaml
var Manifests embed.FS
