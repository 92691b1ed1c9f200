package fuzz

import (
	"testing"

	"github.com/hallwaydb/hallway/tests/harness"
)

var env *harness.Env

func TestMain(m *testing.M) {
	harness.Main(m, harness.Settings{Locale: "en-US"}, func(e *harness.Env) { env = e })
}
