// Parts of JSON that is known to be valid, without decoding it whole.

package rest

import (
	"bytes"
	"encoding/json"
	"iter"
	"strconv"
	"strings"
)

// validJSON tells whether text is JSON that what follows here can walk through.
func validJSON(text []byte) bool {
	s := scanner{page: text}
	if _, err := s.skip(); err != nil { // nested too deeply, for one
		return false
	}
	return json.Valid(text)
}

// elements of an array, by their position; of anything else there are none.
func elements(raw []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		s := scanner{page: raw}
		if s.space() != '[' {
			return
		}
		for n := 0; ; n++ {
			s.pos++ // [ or ,
			if c := s.space(); c == ']' || c == 0 {
				return
			}
			start := s.pos
			if _, err := s.skip(); err != nil || !yield(n, raw[start:s.pos]) {
				return
			}
			if s.space() != ',' {
				return
			}
		}
	}
}

// members of an object in their order, a name that stands there twice both times;
// of anything else there are none.
func members(raw []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for name, value := range rawMembers(raw) {
			if !yield(textIn(name), value) {
				return
			}
		}
	}
}

// rawMembers has names as they stand there, with their quotes.
func rawMembers(raw []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		s := scanner{page: raw}
		if s.space() != '{' {
			return
		}
		for {
			s.pos++ // { or ,
			if s.space() != '"' {
				return
			}
			start := s.pos
			if _, err := s.text(); err != nil {
				return
			}
			name := raw[start:s.pos]
			if s.space() != ':' {
				return
			}
			s.pos++
			s.space()
			start = s.pos
			if _, err := s.skip(); err != nil || !yield(name, raw[start:s.pos]) {
				return
			}
			if s.space() != ',' {
				return
			}
		}
	}
}

// textIn is what a JSON string says.
func textIn(quoted []byte) string {
	inside := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inside, '\\') < 0 {
		return string(bytes.ToValidUTF8(inside, []byte("\uFFFD")))
	}
	text, _ := unescape(nil, inside)
	return string(bytes.ToValidUTF8(text, []byte("\uFFFD")))
}

// memberAt follows a dotted path; a number is an array's position, and of members
// of one name the last counts. Nothing there: nil.
func memberAt(raw []byte, path string) []byte {
	for path != "" {
		var name string
		name, path = cutPath(path)
		var found []byte
		for key, value := range rawMembers(raw) {
			if string(key[1:len(key)-1]) == name || bytes.IndexByte(key, '\\') >= 0 && textIn(key) == name {
				found = value
			}
		}
		if i, err := strconv.Atoi(name); err == nil && i >= 0 {
			for n, value := range elements(raw) {
				if n == i {
					found = value
					break
				}
			}
		}
		if raw = found; raw == nil {
			return nil
		}
	}
	return bytes.TrimSpace(raw)
}

// cutPath takes the first name off a dotted path, as splitPath does.
func cutPath(path string) (name, rest string) {
	for i := range len(path) {
		if path[i] == '.' && (i == 0 || path[i-1] != '\\') {
			return strings.ReplaceAll(path[:i], `\.`, "."), path[i+1:]
		}
	}
	return strings.ReplaceAll(path, `\.`, "."), ""
}

// namesAt are the texts at a path: one, or those of a list.
func namesAt(raw []byte, path string) []string {
	raw = memberAt(raw, path)
	switch {
	case len(raw) > 0 && raw[0] == '[':
		var names []string
		for _, e := range elements(raw) {
			names = append(names, namesAt(e, "")...)
		}
		return names
	case len(raw) > 0 && raw[0] == '"':
		return []string{textIn(raw)}
	}
	return []string{string(raw)} // a number, as it is written
}

// isNothing tells whether JSON says that there is nothing.
func isNothing(raw []byte) bool {
	if len(raw) == 0 {
		return true
	}
	switch raw[0] {
	case '[', '{':
		s := scanner{page: raw, pos: 1}
		c := s.space()
		return c == ']' || c == '}'
	}
	switch string(raw) {
	case "null", "false", `""`:
		return true
	}
	return false
}
