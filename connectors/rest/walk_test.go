package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// decodedAt is memberAt by encoding/json.
func decodedAt(raw []byte, path string) []byte {
	for _, name := range splitPath(path) {
		var object map[string]json.RawMessage
		var list []json.RawMessage
		var i int
		switch {
		case json.Unmarshal(raw, &object) == nil && object != nil:
			raw = object[name]
		case json.Unmarshal(raw, &list) == nil && list != nil:
			if _, err := fmt.Sscan(name, &i); err != nil || i < 0 || i >= len(list) {
				return nil
			}
			raw = list[i]
		default:
			return nil
		}
	}
	return bytes.TrimSpace(raw)
}

// What is walked through is what would be decoded, and JSON that cannot be walked
// through is told.
func FuzzWalk(f *testing.F) {
	for _, text := range []string{
		`{"a": {"b": [1, {"c" : "x"}], "b": [ 2 ]}, "d\u0065": null}`, ` [ ] `, `[[1,2],{"a":{}} , "\"]", -1.5e3]`, `{"a.b":{"c":true},"":{"":0}}`,
		`"\ud800"`, "{\"\xff\":1}", `{}`, `12`, `[1,]`, `{"a":1,}`, strings.Repeat("[", 999) + strings.Repeat("]", 999), strings.Repeat("[", 1001) + strings.Repeat("]", 1001),
	} {
		f.Add([]byte(text), "a.b")
		f.Add([]byte(text), "1.a")
		f.Add([]byte(text), `a\.b.c`)
		f.Add([]byte(text), "de")
	}
	f.Fuzz(func(t *testing.T, text []byte, path string) {
		text = bytes.TrimSpace(text)
		if !validJSON(text) {
			var nested *syntaxError
			s := scanner{page: text}
			if _, err := s.skip(); err == nil && json.Valid(text) {
				t.Fatalf("valid JSON is refused: %v", nested)
			}
			return
		}
		if got, want := memberAt(text, path), decodedAt(text, path); plainPath(path) && !bytes.Equal(got, want) {
			t.Errorf("at %q of %s: %s, not %s", path, text, got, want)
		}
		var list []json.RawMessage
		_ = json.Unmarshal(text, &list)
		n := 0
		for i, e := range elements(text) {
			if i != n || i >= len(list) || !bytes.Equal(e, list[i]) {
				t.Fatalf("element %d of %s: %s", i, text, e)
			}
			n++
		}
		if n != len(list) {
			t.Errorf("%d elements of %s, not %d", n, text, len(list))
		}
		var object map[string]json.RawMessage
		_ = json.Unmarshal(text, &object)
		names := map[string]bool{}
		for name, value := range members(text) {
			names[name] = true
			if _, ok := object[name]; !ok || !json.Valid(value) {
				t.Errorf("member %q of %s: %s", name, text, value)
			}
		}
		if len(names) != len(object) {
			t.Errorf("%d members of %s, not %d", len(names), text, len(object))
		}
		var compact bytes.Buffer
		_ = json.Compact(&compact, text)
		if got, want := isNothing(text), slices.Contains([]string{"", "null", "false", `""`, "[]", "{}"}, compact.String()); got != want {
			t.Errorf("%s is nothing: %t", text, got)
		}
	})
}

// plainPath tells whether Sscan and Atoi read its numbers alike.
func plainPath(path string) bool {
	return !slices.ContainsFunc(splitPath(path), func(name string) bool { return name == "" || strings.ContainsAny(name, "+-_ xXoObB\n\t") }) &&
		!strings.HasSuffix(path, ".") && !strings.HasPrefix(path, ".")
}
