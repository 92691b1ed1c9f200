// The calls that an API grants for a day, the reserve of them, and who shares limits.

package rest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

func reserveOption() connectors.OptionSpec {
	return connectors.OptionSpec{Name: "api_reserve", Where: connectors.OnServer,
		Help: "How many of the calls that the API grants for a day are left to others: a number, or a part such as 10%; once no more remain, calls are refused here (53400), but for one every five minutes. By default none is."}
}

// budget is what a manifest says, with the option api_reserve; nil: the API does not
// tell.
func (l *Limits) budget(reserve string) (*transport.Budget, error) {
	b := &transport.Budget{Reserve: -1}
	for _, p := range l.Budget {
		b.Headers = append(b.Headers, transport.BudgetHeader{Name: p.Name, Form: transport.BudgetForm(p.Value)})
	}
	if reserve != "" {
		number, percent := strings.CutSuffix(reserve, "%")
		n, err := strconv.ParseFloat(number, 64)
		switch {
		case err != nil || !(n >= 0 && n <= 1e12) || percent && n >= 100:
			return nil, &connectors.Error{Class: connectors.InvalidOptionValue, Message: fmt.Sprintf("invalid value for option \"api_reserve\": %q", reserve),
				Hint: "It is a number of calls, or a part of them below 100%."}
		case len(b.Headers) == 0:
			return nil, &connectors.Error{Class: connectors.InvalidOptionValue, Message: "option \"api_reserve\" has no effect: the API does not tell how many calls remain",
				Hint: "The manifest could say where it does: limits.budget."}
		case percent && !l.told("max"):
			return nil, &connectors.Error{Class: connectors.InvalidOptionValue, Message: fmt.Sprintf("invalid value for option \"api_reserve\": %q", reserve),
				Hint: "This API does not tell how many calls it grants in all: give a number."}
		}
		b.Reserve, b.Percent = n, percent
	}
	if len(b.Headers) == 0 {
		return nil, nil
	}
	return b, nil
}

// shared reports whether the credentials of a server share its limits.
func (l *Limits) shared(options map[string]string) (bool, error) {
	switch v, ok := options["limits_shared"]; {
	case !ok:
		return l.Shared == "server", nil
	case v == "server", v == "credential":
		return v == "server", nil
	default:
		return false, &connectors.Error{Class: connectors.InvalidOptionValue, Message: fmt.Sprintf("invalid value for option \"limits_shared\": %q", v),
			Hint: "It is server or credential."}
	}
}

// shareKey is the same for the credentials of one server, as it is defined now.
func shareKey(server connectors.ServerSpec) string {
	key := strconv.Quote(server.Name)
	for _, name := range slices.Sorted(maps.Keys(server.Options)) {
		key += fmt.Sprintf(" %q=%q", name, server.Options[name])
	}
	return key
}

// told reports whether a number is among what the headers tell.
func (l *Limits) told(name string) bool {
	return slices.ContainsFunc(l.Budget, func(p Pair) bool { return slices.Contains(placeholders(p.Value), name) })
}

func (l *loader) checkBudget(m *Manifest) {
	for _, p := range m.Limits.Budget {
		for _, name := range placeholders(p.Value) {
			if !slices.Contains([]string{"used", "remaining", "max"}, name) {
				l.at("limits.budget."+p.Name, "expected {used}, {remaining} or {max}, found {%s}", name)
			}
		}
	}
	if b := &m.Limits; len(b.Budget) > 0 && !b.told("remaining") && (!b.told("used") || !b.told("max")) {
		l.at("limits.budget", "expected {remaining}, or {used} and {max}")
	}
}
