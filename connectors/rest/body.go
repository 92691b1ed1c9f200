// SQL values as a request's body.

package rest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// member of a body: a value, or more members.
type member struct {
	name string
	raw  []byte
	kids []*member
}

// put places a JSON value at a path.
func (m *member) put(path []string, raw []byte) {
	for _, name := range path {
		var next *member
		for _, k := range m.kids {
			if k.name == name {
				next = k
				break
			}
		}
		if next == nil {
			next = &member{name: name}
			m.kids = append(m.kids, next)
		}
		m = next
	}
	m.raw = raw
}

func (m *member) json(dst []byte) []byte {
	if m.raw != nil {
		return append(dst, m.raw...)
	}
	dst = append(dst, '{')
	for i, k := range m.kids {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, k.name), ':')
		dst = k.json(dst)
	}
	return append(dst, '}')
}

// form writes a[b]=c.
func (m *member) form(name string, out url.Values) {
	if m.raw == nil {
		for _, k := range m.kids {
			inner := k.name
			if name != "" {
				inner = name + "[" + k.name + "]"
			}
			k.form(inner, out)
		}
		return
	}
	formValue(name, m.raw, out)
}

func formValue(name string, raw []byte, out url.Values) {
	switch raw[0] {
	case '"':
		var s string
		_ = json.Unmarshal(raw, &s)
		out.Add(name, s)
	case '[':
		var list []json.RawMessage
		_ = json.Unmarshal(raw, &list)
		for i, e := range list {
			formValue(name+"["+itoa(i)+"]", e, out)
		}
	case '{':
		var object map[string]json.RawMessage
		_ = json.Unmarshal(raw, &object)
		for k, e := range object {
			formValue(name+"["+k+"]", e, out)
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
	for _, r := range s {
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

// jsonValue writes a value that is not NULL for the column's field. An error
// says why the API cannot be sent it.
func (col *column) jsonValue(v pushdown.Value) ([]byte, error) {
	list, isList := v.V.([]pushdown.Value)
	if !isList {
		return col.jsonScalar(nil, v)
	}
	dst := []byte{'['}
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
