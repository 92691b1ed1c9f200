package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func TestValue_NeverShows(t *testing.T) {
	const text = "hunter2-secret"
	v := New(text)
	in := struct {
		Token   Value
		Pointer *Value
		List    []Value
		Map     map[string]Value
	}{v, &v, []Value{v}, map[string]Value{"a": v}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10s", "%-5v", "%T %v"} {
		fmt.Fprintf(&out, verb+" "+verb+"\n", v, in)
		fmt.Fprintf(&out, verb+"\n", &v)
	}
	fmt.Fprintln(&out, v, in, fmt.Errorf("wrapped: %v", v), v.String(), v.GoString())
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "v", v, "p", &v, "in", in, slog.Group("g", "v", v))
	}
	b, err := json.Marshal(in)
	require.NoError(t, err)
	out.Write(b)
	y, err := yaml.Marshal(in)
	require.NoError(t, err)
	out.Write(y)
	for _, leak := range []string{text, "hunter2", fmt.Sprintf("%x", text), fmt.Sprintf("%X", text), fmt.Sprintf("%d", []byte(text))} {
		assert.NotContains(t, out.String(), leak)
	}
	assert.Contains(t, string(b), `"Token":"***"`)
	assert.Equal(t, text, v.Reveal())
	assert.False(t, v.IsEmpty())
	assert.True(t, Value{}.IsEmpty())
}

// dir makes a store directory; names that end in "!" are readable by all.
func dir(t *testing.T, files map[string]string) string {
	t.Helper()
	d := t.TempDir()
	for name, content := range files {
		mode := os.FileMode(0o600)
		if n, ok := strings.CutSuffix(name, "!"); ok {
			name, mode = n, 0o644
		}
		require.NoError(t, os.WriteFile(filepath.Join(d, name), []byte(content), 0o600))
		require.NoError(t, os.Chmod(filepath.Join(d, name), mode))
	}
	return d
}

func TestLookup_Formats(t *testing.T) {
	d := dir(t, map[string]string{
		"bare":           "  tok=en==\n",
		"crm.prod":       "dotted",
		"many.env":       "# who\nuser = ada\n\npassword=\"p w=1\"\nempty=\nquote='",
		"obj.json":       `{"client_id":"i","client_secret":"s"}`,
		"both":           "x",
		"both.json":      `{"a":"b"}`,
		"open!":          "tok-open",
		"lines":          "a\nb",
		"blank":          " \n",
		"blank.only.env": "# nothing",
		"bad.env":        "user=ada\nhunter2",
		"twice.env":      "a=1\na=hunter2",
		"nested.json":    `{"a":{"b":"hunter2"}}`,
		"broken.json":    `{"a":"hunter2`,
		"list.json":      `["hunter2"]`,
		"noname.json":    `{"":"hunter2"}`,
		"big":            strings.Repeat("x", maxSize+1),
	})
	require.NoError(t, os.Mkdir(filepath.Join(d, "folder"), 0o700))
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(d, "escape")))
	require.NoError(t, os.Symlink("bare", filepath.Join(d, "inside")))
	s := NewStore(d, "HW_")
	s.lookup = func(k string) (string, bool) {
		v, ok := map[string]string{"HW_CI_TOKEN": " env-tok ", "HW_OBJ_ENV": `{"user":"u"}`, "HW_BARE": "shadowed", "PATH": "no"}[k]
		return v, ok
	}
	for name, want := range map[string]map[string]string{
		"bare": {"": "tok=en=="}, "crm.prod": {"": "dotted"}, "inside": {"": "tok=en=="},
		"many":     {"user": "ada", "password": "p w=1", "empty": "", "quote": "'"},
		"obj":      {"client_id": "i", "client_secret": "s"},
		"ci-token": {"": "env-tok"}, "ci.token": {"": "env-tok"}, "obj_env": {"user": "u"},
	} {
		got, err := s.Lookup(name)
		require.NoError(t, err, name)
		assert.Equal(t, want, got, name)
	}
	for name, want := range map[string]string{
		"":                       "has no name",
		"none":                   "is not in the sidecar's secret store",
		"../bare":                "has a name that begins with a dot",
		"a/../bare":              "has a name with other characters than letters, digits, dot, underscore and hyphen",
		"/etc/passwd":            "has a name with other characters than letters, digits, dot, underscore and hyphen",
		"a\x00b":                 "has a name with other characters than letters, digits, dot, underscore and hyphen",
		"tökén":                  "has a name with other characters than letters, digits, dot, underscore and hyphen",
		"..":                     "has a name that begins with a dot",
		".hidden":                "has a name that begins with a dot",
		"many.env":               "is not in the sidecar's secret store",
		"both":                   "is there twice: as both and as both.json",
		"open":                   "is refused: open has mode 0644, so others could read or change it; run chmod 0640 or 0600 on it",
		"lines":                  "has more than one line; several options belong into lines.env",
		"blank":                  "is empty",
		"blank.only":             "is empty",
		"bad":                    "is refused: line 2 of bad.env is not OPTION=VALUE",
		"twice":                  "is refused: line 2 of twice.env sets an option again",
		"nested":                 "is refused: it is not one JSON object of strings",
		"broken":                 "is refused: it is not one JSON object of strings",
		"list":                   "is refused: it is not one JSON object of strings",
		"noname":                 "is refused: it has an option without a name",
		"big":                    "is refused: big is larger than 65536 bytes",
		"folder":                 "cannot be read: folder is not a regular file",
		"escape":                 "cannot be read: escape cannot be opened",
		strings.Repeat("x", 201): "has too long a name: at most 200 characters",
	} {
		got, err := s.Lookup(name)
		var e *Error
		require.ErrorAs(t, err, &e, "%q gave %v", name, got)
		assert.Equal(t, want, e.Reason, name)
		assert.NotContains(t, err.Error(), "hunter2")
		assert.NotContains(t, err.Error(), "tok-open")
		assert.Equal(t, want == "is not in the sidecar's secret store", errors.Is(err, ErrUnknown))
	}
}

func TestLookup_SeesAChangedFile(t *testing.T) {
	d := dir(t, map[string]string{"a": "one"})
	s := NewStore(d, "")
	for _, want := range []string{"one", "two"} {
		require.NoError(t, os.WriteFile(filepath.Join(d, "a"), []byte(want), 0o600))
		got, err := s.Lookup("a")
		require.NoError(t, err)
		assert.Equal(t, want, got[""])
	}
}

func TestLookup_WithoutADirectory(t *testing.T) {
	_, err := NewStore(filepath.Join(t.TempDir(), "none"), "").Lookup("a")
	require.ErrorIs(t, err, ErrUnknown)
}

func TestNames(t *testing.T) {
	s := NewStore(dir(t, map[string]string{"b": "x", "a.env": "x=1", "c.json": "{}", ".hidden": "x", "we ird": "x"}), "HW_")
	s.environ = func() []string { return []string{"HW_CI=tok", "HW_=x", "OTHER=x", "HW_B=x"} }
	names, err := s.Names()
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b", "c", "ci"}, names)
}
