// The JSON schema of manifests and their documentation, from the tags of the
// structs in manifest.go.

package rest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
)

//go:generate go run ./internal/gendocs -schema ../../docs/connectors/manifest.schema.json -docs ../../docs/connectors/rest.md

// Schema is the JSON schema (2020-12) of manifests, indented, with a newline
// at its end.
func Schema() []byte {
	defs := map[string]any{}
	root := schemaOfStruct(reflect.TypeFor[Manifest](), defs)
	root["$defs"] = defs
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Manifest of an API for Hallway's connector rest"
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic("rest: the schema is not JSON: " + err.Error())
	}
	return append(out, '\n')
}

// schemaOf a type; structs go into defs by name, as they may hold themselves.
func schemaOf(t reflect.Type, defs map[string]any) map[string]any {
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem(), defs)
	case reflect.Slice:
		if named, scalar := namedBy(t.Elem()); named {
			inner := text()
			if !scalar {
				inner = schemaOf(t.Elem(), defs)
			}
			return map[string]any{"type": "object", "additionalProperties": inner}
		}
		return map[string]any{"type": "array", "items": schemaOf(t.Elem(), defs)}
	case reflect.Struct:
		if _, ok := defs[t.Name()]; !ok {
			defs[t.Name()] = nil // its place, while it is made
			defs[t.Name()] = schemaOfStruct(t, defs)
		}
		return map[string]any{"$ref": "#/$defs/" + t.Name()}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	}
	return text()
}

// text in YAML may be written as a number or a boolean: skipTotal: 1.
func text() map[string]any {
	return map[string]any{"type": []string{"string", "number", "boolean"}}
}

func schemaOfStruct(t reflect.Type, defs map[string]any) map[string]any {
	properties := map[string]any{}
	required := []string{}
	for _, k := range keysOf(t) {
		s := schemaOf(t.Field(k.index).Type, defs)
		s["description"] = k.doc
		if k.rules.enum != nil {
			delete(s, "type")
			s["enum"] = k.rules.enum
		}
		if k.rules.min != nil {
			s["minimum"] = *k.rules.min
		}
		if k.rules.max != nil {
			s["maximum"] = *k.rules.max
		}
		switch k.rules.form {
		case "path":
			s["pattern"] = `^(/[^ ?#\\\n]*)?$`
		case "name":
			s["pattern"] = `^[^ \n\t]*$`
		case "template":
			s["pattern"] = `^(/|\{path\}|$)`
		}
		if k.rules.required {
			required = append(required, k.name)
			if s["type"] == "object" {
				s["minProperties"] = 1
			} else if k.rules.enum == nil && s["pattern"] == nil && k.rules.min == nil {
				s["minLength"] = 1
			}
		}
		properties[k.name] = s
	}
	out := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// Docs is the connector's page: its options, and each key of a manifest. The
// text around them is intro.md's.
func Docs(intro string) []byte {
	var b strings.Builder
	b.WriteString("<!-- Made by `make generate` from connectors/rest. Do not edit. -->\n\n")
	b.WriteString(strings.TrimSpace(intro))
	b.WriteString("\n\n## Options\n\n| Where | Option | Needed | Default | |\n|---|---|---|---|---|\n")
	for _, o := range append(slices.Clone(connectors.CommonOptions()), New().Options()...) {
		needed := ""
		if o.Required {
			needed = "yes"
		}
		help := o.Help
		if o.Secret {
			help += " Secret."
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s |\n", o.Where, o.Name, needed, code(o.Default), cell(help))
	}
	b.WriteString("\n## Keys of a manifest\n")
	b.WriteString("\nA key in **bold** must be there. *name* stands for names of your own.\n")
	docsOf(&b, "", reflect.TypeFor[Manifest](), map[reflect.Type]string{})
	return []byte(b.String())
}

func docsOf(b *strings.Builder, path string, t reflect.Type, seen map[reflect.Type]string) {
	title := "At the top"
	if path != "" {
		title = "`" + path + "`"
	}
	fmt.Fprintf(b, "\n### %s\n\n| Key | Type | |\n|---|---|---|\n", title)
	seen[t] = title
	type more struct {
		path string
		t    reflect.Type
	}
	var inner []more
	for _, k := range keysOf(t) {
		ft := t.Field(k.index).Type
		for ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		kind, next := typeName(ft)
		name := "`" + k.name + "`"
		if k.rules.required {
			name = "**" + name + "**"
		}
		doc := cell(k.doc)
		sub := join(path, k.name)
		if strings.HasPrefix(kind, "by name") {
			sub += ".*name*"
		}
		if next != nil {
			if where, ok := seen[next]; ok {
				doc += " Keys as in " + where + "."
			} else {
				seen[next] = "`" + sub + "`"
				inner = append(inner, more{sub, next})
			}
		}
		if k.rules.enum != nil {
			kind = "`" + strings.Join(k.rules.enum, "`, `") + "`"
		} else if k.rules.min != nil || k.rules.max != nil {
			kind = wantOf(ft.Kind(), k.rules)
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", name, kind, doc)
	}
	for _, m := range inner {
		docsOf(b, m.path, m.t, seen)
	}
}

// typeName of a key's value, and the struct it holds, if any.
func typeName(t reflect.Type) (string, reflect.Type) {
	switch t.Kind() {
	case reflect.Slice:
		named, scalar := namedBy(t.Elem())
		switch {
		case scalar:
			return "by name: text", nil
		case named:
			return "by name", t.Elem()
		}
		return "list", nil
	case reflect.Struct:
		return "mapping", t
	case reflect.Bool:
		return "true or false", nil
	case reflect.Int:
		return "whole number", nil
	case reflect.Float64:
		return "number", nil
	}
	return "text", nil
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}
