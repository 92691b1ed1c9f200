// Where settings come from: defaults, then the file, then the environment,
// then flags.

package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hallwaydb/hallway/connectors"
)

// Error is a setting that is wrong: where it stands and what was expected.
type Error struct {
	// Where is "file:line", "--flag" or the variable's name.
	Where   string
	Setting string
	Reason  string
	// Hint is a setting that was probably meant, in a sentence; may be empty.
	Hint string
}

func (e *Error) Error() string {
	out := e.Where + ": "
	if e.Setting != "" {
		out += e.Setting + ": "
	}
	out += e.Reason
	if e.Hint != "" {
		out += ". " + e.Hint
	}
	return out
}

// Load reads settings. file is the one named by --config or HALLWAY_CONFIG,
// which must exist; empty: DefaultFile if there is one. environ is
// os.Environ(); flags are those given, by Field.Flag. Errors are *Error, or
// wrap the file's.
func Load(file string, environ []string, flags map[string]string) (*Settings, error) {
	s := Default()
	path := file
	if path == "" {
		path = DefaultFile
	}
	data, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := s.file(path, data); err != nil {
			return nil, err
		}
	case file == "" && errors.Is(err, fs.ErrNotExist):
	default:
		return nil, fmt.Errorf("reading the settings: %w", err)
	}
	env := make(map[string]string)
	for _, kv := range environ {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	for _, f := range Fields() {
		if v, ok := env[f.Env()]; ok {
			if err := s.assign(f, f.Env(), "", f.split(v)); err != nil {
				return nil, err
			}
		}
	}
	for _, f := range Fields() {
		if v, ok := flags[f.Flag()]; ok {
			if err := s.assign(f, "--"+f.Flag(), "", f.split(v)); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// split makes a flag's or variable's text the field's values.
func (f Field) split(v string) []string {
	if !f.List {
		return []string{v}
	}
	if strings.TrimSpace(v) == "" {
		return nil
	}
	parts := strings.Split(v, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

func (s *Settings) assign(f Field, where, setting string, values []string) error {
	if err := f.set(s, values); err != nil {
		return &Error{Where: where, Setting: setting, Reason: err.Error()}
	}
	s.given[f.Name] = true
	return nil
}

// file sets what a YAML file says.
func (s *Settings) file(path string, data []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return &Error{Where: path, Reason: "not valid YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	if len(doc.Content) == 0 {
		return nil // empty, or comments alone
	}
	root := doc.Content[0]
	at := func(n *yaml.Node) string { return fmt.Sprintf("%s:%d", path, n.Line) }
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		return &Error{Where: at(root), Reason: "expected settings as name: value"}
	}
	fields := make(map[string]Field)
	var names []string
	for _, f := range Fields() {
		fields[f.Name] = f
		names = append(names, f.Name)
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		f, ok := fields[key.Value]
		if !ok {
			e := &Error{Where: at(key), Reason: fmt.Sprintf("there is no setting %q", key.Value)}
			if near := connectors.Nearest(key.Value, names); near != "" {
				e.Hint = fmt.Sprintf("Perhaps you meant %q.", near)
			}
			return e
		}
		if line, dup := seen[key.Value]; dup {
			return &Error{Where: at(key), Setting: key.Value, Reason: fmt.Sprintf("set twice, first in line %d", line)}
		}
		seen[key.Value] = key.Line
		values, err := nodeValues(f, value)
		if err != nil {
			return &Error{Where: at(value), Setting: f.Name, Reason: err.Error()}
		}
		if err := s.assign(f, at(value), f.Name, values); err != nil {
			return err
		}
	}
	return nil
}

// nodeValues are a YAML value's strings.
func nodeValues(f Field, n *yaml.Node) ([]string, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			if f.List {
				return nil, nil
			}
			return nil, errors.New(`expected a value; write "" for an empty one`)
		}
		if f.List {
			return nil, fmt.Errorf("expected a list such as [%s]", n.Value)
		}
		return []string{n.Value}, nil
	case yaml.SequenceNode:
		if !f.List {
			return nil, errors.New("expected one value, got a list")
		}
		out := make([]string, 0, len(n.Content))
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return nil, errors.New("expected a list of plain values")
			}
			out = append(out, item.Value)
		}
		return out, nil
	}
	return nil, errors.New("expected a value, got a mapping")
}
