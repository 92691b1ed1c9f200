// What values properties take, and how refusals of them read.

package hubspot

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/mail"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxText is the most characters a property takes.
const maxText = 65_536

// invalid is one entry of the list that HubSpot hides in its message as JSON.
type invalid struct {
	IsValid   bool   `json:"isValid"`
	Message   string `json:"message"`
	Error     string `json:"error"`
	Name      string `json:"name"`
	Localized string `json:"localizedErrorMessage"`
	PortalID  int    `json:"portalId,omitempty"`
}

func notValid(list []invalid) *failure {
	for i := range list {
		list[i].Localized = list[i].Message
	}
	b, err := json.Marshal(list)
	if err != nil {
		panic(err) // texts only
	}
	f := fail(http.StatusBadRequest, categoryValidation, "Property values were not valid: %s", b)
	for _, v := range list {
		f.Errors = append(f.Errors, detail{Message: v.Message, Code: v.Error, Context: map[string][]string{"propertyName": {v.Name}}})
	}
	return f
}

// check takes the values of a write, and gives them as they are kept. r is the
// record that is changed; nil: one is made. own says which values of unique
// properties are taken by the record itself.
func (s *Server) check(t *objectType, r *record, in map[string]*string) (map[string]string, *failure) {
	out := make(map[string]string, len(in))
	var wrong []invalid
	names := make([]string, 0, len(in))
	for name := range in {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		value := ""
		if in[name] != nil {
			value = *in[name]
		}
		p := t.property(name)
		if p == nil {
			wrong = append(wrong, invalid{Message: fmt.Sprintf("Property %q does not exist", name), Error: "PROPERTY_DOESNT_EXIST", Name: name, PortalID: portal})
			continue
		}
		if p.Modification.ReadOnlyValue || p.Calculated {
			wrong = append(wrong, invalid{Message: fmt.Sprintf("%q is a read only property; its value cannot be set.", name), Error: "READ_ONLY_VALUE", Name: name})
			continue
		}
		kept, message, code := keep(p, value)
		if code == "" && p.ExternalOptions && p.Referenced == "OWNER" && kept != "" && !s.isOwner(kept) {
			message, code = fmt.Sprintf("%s is not a valid owner.", kept), "INVALID_OWNER_ID"
		}
		if code != "" {
			wrong = append(wrong, invalid{Message: message, Error: code, Name: name})
			continue
		}
		out[name] = kept
	}
	if len(wrong) > 0 {
		return nil, notValid(wrong)
	}
	if f := t.missing(r, out); f != nil {
		return nil, f
	}
	return out, t.conflict(r, out)
}

// missing says which required properties would have no value.
func (t *objectType) missing(r *record, values map[string]string) *failure {
	var lack []string
	for _, name := range t.required {
		v, given := values[name]
		if r == nil && v == "" || r != nil && given && v == "" {
			lack = append(lack, name)
		}
	}
	if lack == nil {
		return nil
	}
	f := fail(http.StatusBadRequest, categoryValidation, "Error creating %s. Some required properties were not set.", t.upper())
	f.Context = map[string][]string{"properties": lack}
	return f
}

// conflict says which value of a unique property another record has.
func (t *objectType) conflict(r *record, values map[string]string) *failure {
	for name, taken := range t.unique {
		v := values[name]
		other := taken[strings.ToLower(v)]
		if v == "" || other == nil || other == r {
			continue
		}
		if t.name == "contacts" && name == "email" {
			return fail(http.StatusConflict, categoryConflict, "Contact already exists. Existing ID: %d", other.id)
		}
		on := "UNKNOWN"
		if r != nil {
			on = strconv.FormatInt(r.id, 10)
		}
		return notValid([]invalid{{Name: name, Error: "CONFLICTING_UNIQUE_VALUE",
			Message: fmt.Sprintf("Cannot set PropertyValueCoordinates{portalId=%d, objectTypeId=ObjectTypeId{legacyObjectType=%s}, propertyName=%s, value=%s} on %s. %d already has that value.",
				portal, t.upper(), name, v, on, other.id)}})
	}
	return nil
}

// keep gives a value as it is kept, or what is wrong with it.
func keep(p *Property, value string) (kept, message, code string) {
	if value == "" {
		return "", "", ""
	}
	if n := utf8.RuneCountInString(value); n > maxText {
		return "", fmt.Sprintf("%s is too long. It can have at most %d characters, and has %d.", p.Name, maxText, n), "PROPERTY_VALUE_TOO_LONG"
	}
	switch p.Type {
	case "number":
		if _, isNumber := number(value); !isNumber {
			return "", fmt.Sprintf("%s was not a valid number.", value), "INVALID_DOUBLE"
		}
	case "bool":
		if value != "true" && value != "false" {
			return "", fmt.Sprintf("%s was not one of the allowed options: [true, false]", value), "INVALID_OPTION"
		}
	case "enumeration":
		return keepOption(p, value)
	case "datetime":
		t, isTime := instant(value)
		if !isTime {
			return "", fmt.Sprintf("%s was not a valid long.", value), "INVALID_LONG"
		}
		return stamp(t), "", ""
	case "date":
		t, isTime := instant(value)
		if !isTime {
			return "", fmt.Sprintf("%s was not a valid long.", value), "INVALID_LONG"
		}
		if !t.Equal(t.Truncate(day)) {
			return "", fmt.Sprintf("%s is at %s, not midnight!", value, t.Format("15:04:05.000Z")), "INVALID_DATE"
		}
		return t.Format(time.DateOnly), "", ""
	case "string":
		if p.Name == "email" {
			if a, err := mail.ParseAddress(value); err != nil || a.Address != value || !strings.Contains(value[strings.LastIndexByte(value, '@'):], ".") {
				return "", fmt.Sprintf("Email address %s is invalid", value), "INVALID_EMAIL"
			}
		}
	}
	return value, "", ""
}

func keepOption(p *Property, value string) (kept, message, code string) {
	if p.ExternalOptions {
		return value, "", ""
	}
	chosen := []string{value}
	if p.FieldType == "checkbox" {
		chosen = strings.Split(strings.TrimPrefix(value, ";"), ";")
	}
	for _, c := range chosen {
		if !slices.ContainsFunc(p.Options, func(o Option) bool { return o.Value == c }) {
			all := make([]string, len(p.Options))
			for i, o := range p.Options {
				all[i] = o.Value
			}
			return "", fmt.Sprintf("%s was not one of the allowed options: [%s]", c, strings.Join(all, ", ")), "INVALID_OPTION"
		}
	}
	return strings.Join(chosen, ";"), "", ""
}

// number reads what the API takes for one: decimal digits.
func number(v string) (*big.Rat, bool) {
	if strings.ContainsAny(v, "/xXpP_bBoO ") || len(v) > 400 {
		return nil, false
	}
	if at := strings.IndexAny(v, "eE"); at >= 0 {
		if e, err := strconv.Atoi(v[at+1:]); err != nil || e < -400 || e > 400 {
			return nil, false
		}
	}
	return new(big.Rat).SetString(v)
}

// instant reads a time: milliseconds since 1970, ISO 8601 with a zone, or a date.
func instant(v string) (time.Time, bool) {
	if ms, err := strconv.ParseInt(v, 10, 64); err == nil {
		return time.UnixMilli(ms).UTC(), true
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, v); err == nil {
			return t.UTC().Truncate(time.Millisecond), true
		}
	}
	return time.Time{}, false
}
