// SQL values as a request's body.

package rest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// shape is how a JSON value of a request is made of a row. It is put together once
// for a batch, and is then safe for concurrent use.
type shape struct {
	// name of the member, as JSON and with the colon; empty: it is none.
	name string
	// fill appends the value. The last that has one counts; kids are laid over it.
	fill []filler
	kids []*shape
	// always: an object also if none of its members has a value.
	always bool
}

// place is what a shape is filled in with: row i of the batch, which stands at this
// position in its request, and its key.
type place struct {
	i, at   int
	key     string
	keyJSON []byte
}

// filler appends a value; false: there is none.
type filler func(dst []byte, p *place) ([]byte, bool, error)

func newShape() *shape { return &shape{always: true} }

// at is the member at a path.
func (s *shape) at(path []string) *shape {
	for _, part := range path {
		name := string(appendString(nil, part)) + ":"
		i := slices.IndexFunc(s.kids, func(k *shape) bool { return k.name == name })
		if i < 0 {
			i = len(s.kids)
			s.kids = append(s.kids, &shape{name: name})
		}
		s = s.kids[i]
	}
	return s
}

func (s *shape) put(path []string, f filler) {
	to := s.at(path)
	to.fill = append(to.fill, f)
}

// constant puts the same value for each row.
func (s *shape) constant(path []string, raw []byte) {
	s.put(path, func(dst []byte, _ *place) ([]byte, bool, error) { return append(dst, raw...), true, nil })
}

// append writes the value; false: there is none. dst is then as it was.
func (s *shape) append(dst []byte, p *place) ([]byte, bool, error) {
	start, there := len(dst), false
	for _, f := range s.fill {
		end := len(dst)
		out, ok, err := f(dst, p)
		if err != nil {
			return nil, false, err
		}
		if dst = out[:end]; ok {
			dst, there = append(out[:start], out[end:]...), true
		}
	}
	switch {
	case there && len(s.kids) == 0:
		return dst, true, nil
	case there:
		return s.lay(dst, start, p)
	}
	dst = append(dst, '{')
	for _, k := range s.kids {
		mark := len(dst)
		if there {
			dst = append(dst, ',')
		}
		out, ok, err := k.append(append(dst, k.name...), p)
		if err != nil {
			return nil, false, err
		}
		if dst = out; !ok {
			dst = dst[:mark]
		}
		there = there || ok
	}
	if !there && !s.always {
		return dst[:start], false, nil
	}
	return append(dst, '}'), true, nil
}

// lay puts the kids that have a value over the one that begins at start.
func (s *shape) lay(dst []byte, start int, p *place) ([]byte, bool, error) {
	value := tree(dst[start:])
	for _, k := range s.kids {
		raw, ok, err := k.append(nil, p)
		if err != nil {
			return nil, false, err
		}
		if !ok {
			continue
		}
		if !value.isObject() {
			value.raw = nil
		}
		kid := tree(raw)
		kid.name = textIn([]byte(k.name[:len(k.name)-1]))
		value.put(kid)
	}
	out := value.json(nil)
	return append(dst[:start], out...), true, nil
}

// json is the value of a shape of constants.
func (s *shape) json() []byte {
	out, _, _ := s.append(nil, nil)
	return out
}

// form writes the members of an object as a[b]=c.
func form(object []byte) []byte {
	out := url.Values{}
	for name, raw := range members(object) {
		formValue(name, raw, out)
	}
	return []byte(out.Encode())
}

func formValue(name string, raw []byte, out url.Values) {
	switch raw[0] {
	case '"':
		var s string
		_ = json.Unmarshal(raw, &s)
		out.Add(name, s)
	case '[':
		n := 0
		for i, e := range elements(raw) {
			formValue(name+"["+itoa(i)+"]", e, out)
			n++
		}
		if n == 0 {
			out.Add(name, "") // else nothing would say that it is empty
		}
	case '{':
		n := 0
		for k, e := range members(raw) {
			formValue(name+"["+k+"]", e, out)
			n++
		}
		if n == 0 {
			out.Add(name, "")
		}
	case 'n':
		out.Add(name, "")
	default:
		out.Add(name, string(raw))
	}
}

// appendString writes a JSON string.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		start := i
		for i < len(s) && plainASCII(s[i]) {
			i++
		}
		dst = append(dst, s[start:i]...)
		if i == len(s) {
			break
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r == '\t':
			dst = append(dst, '\\', 't')
		case r == '\r':
			dst = append(dst, '\\', 'r')
		case r < 0x20 || r == 0x7f:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

// plainASCII tells whether a byte stands for itself in a JSON string.
func plainASCII(c byte) bool { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\' }

// appendJSON writes a value that is not NULL for the column's field. An error
// says why the API cannot be sent it.
func (col *column) appendJSON(dst []byte, v pushdown.Value) ([]byte, error) {
	if !col.field.Quoted {
		return col.jsonValue(dst, v)
	}
	raw, err := col.jsonValue(nil, v)
	if err != nil || raw[0] == '"' {
		return append(dst, raw...), err
	}
	return appendString(dst, string(raw)), nil
}

func (col *column) jsonValue(dst []byte, v pushdown.Value) ([]byte, error) {
	list, isList := v.V.([]pushdown.Value)
	if !isList {
		return col.jsonScalar(dst, v)
	}
	dst = append(dst, '[')
	for i, e := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		if e.IsNull() {
			dst = append(dst, "null"...)
			continue
		}
		var err error
		if dst, err = col.jsonScalar(dst, e); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func (col *column) jsonScalar(dst []byte, v pushdown.Value) ([]byte, error) {
	switch x := v.V.(type) {
	case bool:
		return strconv.AppendBool(dst, x), nil
	case float64:
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return nil, fmt.Errorf("JSON has no number %v", x)
		}
		return strconv.AppendFloat(dst, x, 'g', -1, 64), nil
	case []byte:
		return appendString(dst, base64.StdEncoding.EncodeToString(x)), nil
	case int64:
		return col.jsonInt(dst, x)
	case string:
		return col.jsonText(dst, x)
	}
	return nil, fmt.Errorf("type %s cannot be sent", col.spec.Type.Name)
}

func (col *column) jsonInt(dst []byte, x int64) ([]byte, error) {
	var t time.Time
	switch col.spec.Type.Kind {
	case pushdown.Date:
		if x < -1<<30 || x > 1<<30 {
			return nil, errors.New("the API has no such date")
		}
		t = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, int(x))
	case pushdown.Time:
		t = time.UnixMicro(x).UTC()
		if col.field.Format == "utc" {
			return appendString(dst, t.Format("15:04:05.000Z")), nil
		}
		return appendString(dst, t.Format("15:04:05.999999")), nil
	case pushdown.Timestamp, pushdown.TimestampTZ:
		if x < math.MinInt64/2 || x > math.MaxInt64/2 {
			return nil, errors.New("the API has no infinite times")
		}
		t = time.UnixMicro(x + epoch).UTC()
		switch col.field.Format {
		case "unix":
			return strconv.AppendInt(dst, t.Unix(), 10), nil
		case "unix_ms":
			return strconv.AppendInt(dst, t.UnixMilli(), 10), nil
		}
	default:
		if t := col.field.Type; t != "number" && t != "integer" && t != "json" {
			return appendString(dst, strconv.FormatInt(x, 10)), nil
		}
		return strconv.AppendInt(dst, x, 10), nil
	}
	if t.Year() < 1 || t.Year() > 9999 {
		return nil, errors.New("the API has no dates before the year 1 or after 9999")
	}
	layout := "2006-01-02T15:04:05.999999Z07:00"
	switch col.field.Keeps {
	case "seconds":
		layout = "2006-01-02T15:04:05Z07:00"
	case "milliseconds":
		layout = "2006-01-02T15:04:05.000Z07:00"
	}
	switch {
	case col.field.Type == "date" || (col.spec.Type.Kind == pushdown.Date && col.field.Type != "datetime"):
		layout = "2006-01-02"
	case col.field.Type == "timestamp":
		layout = "2006-01-02T15:04:05.999999"
	}
	return appendString(dst, t.Format(layout)), nil
}

func (col *column) jsonText(dst []byte, x string) ([]byte, error) {
	switch kind := col.spec.Type.Kind; {
	case kind == pushdown.JSON || kind == pushdown.JSONB:
		return append(dst, x...), nil
	case col.field.Type == "json":
		if !json.Valid([]byte(x)) {
			return nil, errors.New("it is not JSON")
		}
		return append(dst, x...), nil
	case col.field.Type == "number" || col.field.Type == "integer":
		n := strings.TrimSpace(x)
		if n == "" || (n[0] != '-' && n[0]-'0' > 9) || !json.Valid([]byte(n)) {
			return nil, fmt.Errorf("JSON has no number %s", shortText(x))
		}
		return append(dst, n...), nil
	case col.field.Type == "boolean":
		b, err := strconv.ParseBool(x)
		if err != nil {
			return nil, errors.New("it is not a boolean")
		}
		return strconv.AppendBool(dst, b), nil
	}
	return appendString(dst, x), nil
}
