package rest

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("rest.update", false, "write what is found as what is wanted")

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(Schema())))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("manifest.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON turns YAML into what a JSON schema checks.
func asJSON(text []byte) (any, error) {
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		return nil, err
	}
	out, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(strings.NewReader(string(out)))
}

func manifests(t *testing.T, dirs ...string) []string {
	t.Helper()
	var files []string
	for _, d := range dirs {
		got, err := filepath.Glob(filepath.Join(d, "*.yaml"))
		if err != nil || len(got) == 0 {
			t.Fatalf("no manifests in %s: %v", d, err)
		}
		files = append(files, got...)
	}
	return files
}

func TestParse_GoodManifests(t *testing.T) {
	schema := compiledSchema(t)
	for _, file := range manifests(t, "testdata/good", "../../examples", "../../tests/fakes/manifests") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Parse(filepath.Base(file), text); err != nil {
				t.Errorf("refused: %v", err)
			}
			doc, err := asJSON(text)
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(doc); err != nil {
				t.Errorf("the schema refuses it: %v", err)
			}
		})
	}
}

// What each bad manifest is answered with stands in testdata/bad/expected.txt,
// a line a problem. -rest.update writes it.
func TestParse_BadManifests(t *testing.T) {
	const expected = "testdata/bad/expected.txt"
	var out strings.Builder
	schema := compiledSchema(t)
	structural := 0
	for _, file := range manifests(t, "testdata/bad") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		_, err = Parse(name, text)
		var bad *ManifestError
		if !errors.As(err, &bad) {
			t.Errorf("%s: got %v, want a *ManifestError", name, err)
			continue
		}
		for _, p := range bad.Problems {
			fmt.Fprintf(&out, "%s:%d: %s\n", name, p.Line, p)
		}
		if doc, err := asJSON(text); err == nil && schema.Validate(doc) != nil {
			structural++
		}
	}
	// What a schema can say, it says too.
	if structural < 18 {
		t.Errorf("the schema refuses %d of the bad manifests, want at least 18", structural)
	}
	if *update {
		if err := os.WriteFile(expected, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(expected)
	if err != nil {
		t.Fatal(err)
	}
	got, wanted := strings.Split(out.String(), "\n"), strings.Split(string(want), "\n")
	for _, line := range got {
		if !slices.Contains(wanted, line) {
			t.Errorf("not expected: %s", line)
		}
	}
	for _, line := range wanted {
		if !slices.Contains(got, line) {
			t.Errorf("missing: %s", line)
		}
	}
}

func TestParse_ErrorNamesFileAndLine(t *testing.T) {
	_, err := Parse("crm.yaml", []byte("manifest: 1\nname: T\nobjects:\n  a:\n    path: /a\n    fields:\n      id: {type: txt}\n"))
	want := `manifest "crm.yaml", line 7: objects.a.fields.id.type: expected one of text, integer, number, boolean, datetime, timestamp, date, time, uuid, select, relation, json, bytes (did you mean text?), found "txt"`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// Generated files are committed; make verify compares them too.
func TestGenerated_IsFresh(t *testing.T) {
	intro, err := os.ReadFile("intro.md")
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string][]byte{
		"../../docs/connectors/manifest.schema.json": Schema(),
		"../../docs/connectors/rest.md":              Docs(string(intro)),
	} {
		got, err := os.ReadFile(file)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is stale (%v): run make generate", file, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, dir := range []string{"testdata/good", "testdata/bad"} {
		files, _ := filepath.Glob(filepath.Join(dir, "*.yaml"))
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil {
				f.Add(text)
			}
		}
	}
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse("f.yaml", text)
		if (m == nil) == (err == nil) {
			t.Errorf("got both or neither: %v %v", m, err)
		}
	})
}
