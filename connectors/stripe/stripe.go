// Package stripe reads and writes Stripe. The manifest, stripe.yaml, says nearly all
// of it; what is here it cannot say: what an error's body means, and fields that a
// table names below others, such as metadata.order and customer.email.
package stripe

import (
	"context"
	_ "embed"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/rest"
)

//go:embed stripe.yaml
var manifest []byte

// New makes the connector.
func New() *rest.Connector {
	return rest.NewVendor(rest.Vendor{Name: "stripe", Manifest: manifest, Options: options(), Open: open})
}

func options() []connectors.OptionSpec {
	return []connectors.OptionSpec{
		{Name: "search", Where: connectors.OnTable, Help: "Whether Stripe's search may be used for this table; by default what the server says. It is up to a minute late, and what it misses is missing."},
	}
}

func open(api *rest.API) (rest.Hooks, error) {
	search, err := boolean("search", api.Option("search"))
	if err != nil {
		return rest.Hooks{}, err
	}
	return rest.Hooks{
		Bind: func(_ context.Context, spec connectors.TableSpec, o *rest.Object) (*rest.Object, error) {
			use := search
			if text, ok := spec.Options["search"]; ok {
				var err error
				if use, err = boolean("search", text); err != nil {
					return nil, err
				}
			}
			return bind(api.Manifest, spec, o, use), nil
		},
		Refusal: refusal,
	}, nil
}

func boolean(option, text string) (bool, error) {
	on, err := strconv.ParseBool(text)
	if err != nil {
		return false, &connectors.Error{Class: connectors.InvalidOptionValue, API: "Stripe",
			Message: "invalid value for option " + strconv.Quote(option) + ": " + strconv.Quote(text), Hint: "It is true or false."}
	}
	return on, nil
}

var tooLong = regexp.MustCompile(`must be at most \d+ characters$`)

// refusal reads {"error": {"type", "code", "param", "message"}}.
func refusal(_ int, _ http.Header, body []byte) *rest.Refusal {
	var answer struct {
		Error *struct{ Type, Code, Param, Message string }
	}
	if json.Unmarshal(body, &answer) != nil || answer.Error == nil {
		return nil
	}
	e := answer.Error
	code := e.Code
	switch {
	case code == "resource_missing" && (e.Param == "starting_after" || e.Param == "ending_before"):
		code = "cursor_missing" // the record that the last page ended with is gone
	case code == "" && tooLong.MatchString(e.Message):
		code = "string_too_long" // Stripe has no code for it
	case code == "" && e.Type != "invalid_request_error":
		code = e.Type
	}
	if e.Param == "" || slices.Contains([]string{"id", "expand", "limit", "query"}, e.Param) {
		return &rest.Refusal{Message: e.Message, Code: code}
	}
	return &rest.Refusal{Code: code, Fields: []rest.FieldRefusal{{Field: fieldOf(e.Param), Message: e.Message}}}
}

// fieldOf is the field that a parameter sets: of address[city] that is address.city,
// of items[0][price] items, and of metadata[a] metadata.a.
func fieldOf(param string) string {
	name, rest, nested := strings.Cut(param, "[")
	for nested {
		var part string
		part, rest, _ = strings.Cut(rest, "]")
		if part == "" || part[0] >= '0' && part[0] <= '9' {
			break
		}
		name += "." + part
		rest, nested = strings.CutPrefix(rest, "[")
	}
	return name
}
