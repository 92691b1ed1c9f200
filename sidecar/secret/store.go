// The store of secrets: files in one directory, and environment variables with
// one prefix. A user mapping can name what is in the store and nothing else.

package secret

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// maxSize of one secret's file.
const maxSize = 64 << 10

// Store finds secrets by name.
//
// The secret NAME is a file in the directory: NAME holds one value as it is
// (a token; white space at its ends is not part of it); NAME.env has lines
// OPTION=VALUE (empty lines and those that begin with # are skipped, a value
// may stand in single or double quotes); NAME.json one object of strings.
// Or it is the environment variable PREFIX + NAME, the name in capitals with
// _ for . and -, which holds one value, or a JSON object if it begins with {.
// Files are read at each Lookup, so that a changed one needs no restart.
type Store struct {
	dir, prefix string
	lookup      func(string) (string, bool)
	environ     func() []string
}

// NewStore makes a store of the directory dir and of environment variables
// that begin with prefix; either may be empty.
func NewStore(dir, prefix string) *Store {
	return &Store{dir: dir, prefix: prefix, lookup: os.LookupEnv, environ: os.Environ}
}

// Error is a secret that cannot be used. It holds the name and the reason,
// never a value.
type Error struct {
	Name, Reason string
	// Err is ErrUnknown, or nil.
	Err error
}

func (e *Error) Error() string { return fmt.Sprintf("secret %q %s", e.Name, e.Reason) }

// Unwrap gives Err.
func (e *Error) Unwrap() error { return e.Err }

// ErrUnknown is wrapped by the error of a name that is not in the store.
var ErrUnknown = errors.New("not in the store")

// Lookup finds the options that name stands for; one bare value has the name
// "". An *Error says what is wrong, one that wraps ErrUnknown that there is no
// such secret.
func (s *Store) Lookup(name string) (map[string]string, error) {
	if reason := badName(name); reason != "" {
		return nil, &Error{Name: name, Reason: reason}
	}
	if s.dir != "" {
		values, err := s.fromDir(name)
		if err != nil || values != nil {
			return values, err
		}
	}
	if s.prefix != "" {
		key := s.prefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(name))
		if v, ok := s.lookup(key); ok {
			if strings.HasPrefix(strings.TrimSpace(v), "{") {
				return parseJSON(name, []byte(v))
			}
			return bare(name, []byte(v))
		}
	}
	return nil, &Error{Name: name, Reason: "is not in the sidecar's secret store", Err: ErrUnknown}
}

// badName says what is wrong with a name; "" if nothing. Only these characters
// can stand in one, so no name leads out of the directory.
func badName(name string) string {
	switch {
	case name == "":
		return "has no name"
	case len(name) > 200:
		return "has too long a name: at most 200 characters"
	case strings.HasPrefix(name, "."):
		return "has a name that begins with a dot"
	case strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_.-", r)
	}):
		return "has a name with other characters than letters, digits, dot, underscore and hyphen"
	}
	return ""
}

// formats by the end of the file's name.
var formats = []struct {
	ext   string
	parse func(name string, data []byte) (map[string]string, error)
}{{"", bare}, {".env", parseEnv}, {".json", parseJSON}}

// fromDir is nil without error if there is no such file.
func (s *Store) fromDir(name string) (map[string]string, error) {
	root, err := os.OpenRoot(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &Error{Name: name, Reason: "cannot be read: the secret store cannot be opened"}
	}
	defer func() { _ = root.Close() }()
	var found map[string]string
	var where string
	for _, f := range formats {
		if f.ext == "" && (strings.HasSuffix(name, ".env") || strings.HasSuffix(name, ".json")) {
			continue // such a file is meant by the name without its end
		}
		data, err := read(root, name, name+f.ext)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if found != nil {
			return nil, &Error{Name: name, Reason: fmt.Sprintf("is there twice: as %s and as %s", where, name+f.ext)}
		}
		if found, err = f.parse(name, data); err != nil {
			return nil, err
		}
		where = name + f.ext
	}
	return found, nil
}

// read gives a file's content if only the right people can read it. Symbolic
// links may lead elsewhere in the directory, not out of it.
func read(root *os.Root, name, file string) ([]byte, error) {
	f, err := root.Open(file)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fs.ErrNotExist
		}
		if errors.Is(err, fs.ErrPermission) {
			return nil, &Error{Name: name, Reason: fmt.Sprintf("cannot be read: the sidecar's user may not open %s", file)}
		}
		return nil, &Error{Name: name, Reason: fmt.Sprintf("cannot be read: %s cannot be opened", file)}
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return nil, &Error{Name: name, Reason: "cannot be read"}
	}
	if !st.Mode().IsRegular() {
		return nil, &Error{Name: name, Reason: fmt.Sprintf("cannot be read: %s is not a regular file", file)}
	}
	if m := st.Mode().Perm(); m&0o027 != 0 {
		return nil, &Error{Name: name, Reason: fmt.Sprintf("is refused: %s has mode %04o, so others could read or change it; run chmod 0640 or 0600 on it", file, m)}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, &Error{Name: name, Reason: "cannot be read"}
	}
	if len(data) > maxSize {
		return nil, &Error{Name: name, Reason: fmt.Sprintf("is refused: %s is larger than %d bytes", file, maxSize)}
	}
	return data, nil
}

func bare(name string, data []byte) (map[string]string, error) {
	v := strings.TrimSpace(string(data))
	if v == "" {
		return nil, &Error{Name: name, Reason: "is empty"}
	}
	if strings.ContainsAny(v, "\r\n") {
		return nil, &Error{Name: name, Reason: fmt.Sprintf("has more than one line; several options belong into %s.env", name)}
	}
	return map[string]string{"": v}, nil
}

func parseEnv(name string, data []byte) (map[string]string, error) {
	out := map[string]string{}
	sc := bufio.NewScanner(bytes.NewReader(data))
	sc.Buffer(nil, maxSize+1)
	for line := 1; sc.Scan(); line++ {
		text := strings.TrimSpace(sc.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		k, v, ok := strings.Cut(text, "=")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		if !ok || k == "" {
			return nil, &Error{Name: name, Reason: fmt.Sprintf("is refused: line %d of %s.env is not OPTION=VALUE", line, name)}
		}
		if n := len(v); n >= 2 && (v[0] == '"' || v[0] == '\'') && v[n-1] == v[0] {
			v = v[1 : n-1]
		}
		if _, dup := out[k]; dup {
			return nil, &Error{Name: name, Reason: fmt.Sprintf("is refused: line %d of %s.env sets an option again", line, name)}
		}
		out[k] = v
	}
	if len(out) == 0 {
		return nil, &Error{Name: name, Reason: "is empty"}
	}
	return out, nil
}

func parseJSON(name string, data []byte) (map[string]string, error) {
	var out map[string]string
	// The decoder's message could quote the content.
	if err := json.Unmarshal(data, &out); err != nil || len(out) == 0 {
		return nil, &Error{Name: name, Reason: "is refused: it is not one JSON object of strings"}
	}
	if _, ok := out[""]; ok {
		return nil, &Error{Name: name, Reason: "is refused: it has an option without a name"}
	}
	return out, nil
}

// Names lists what is in the store, for checks; it reads no secret.
func (s *Store) Names() ([]string, error) {
	var out []string
	if s.dir != "" {
		entries, err := os.ReadDir(s.dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("listing the secrets: %w", err)
		}
		for _, e := range entries {
			name := strings.TrimSuffix(strings.TrimSuffix(e.Name(), ".env"), ".json")
			if badName(name) == "" && !e.IsDir() {
				out = append(out, name)
			}
		}
	}
	if s.prefix != "" {
		for _, kv := range s.environ() {
			if k, _, _ := strings.Cut(kv, "="); strings.HasPrefix(k, s.prefix) && k != s.prefix {
				out = append(out, strings.ToLower(k[len(s.prefix):]))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
