// Package hubspot is the connector for HubSpot's CRM: hubspot.yaml says how it is
// spoken to, and this package what a manifest cannot: which objects and fields an
// account has (metadata.go), what a refusal says (refusal.go), and associations as
// tables (associations.go). BEHAVIOR.md has what surprised us.
package hubspot

import (
	"context"
	_ "embed"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/rest"
)

//go:embed hubspot.yaml
var manifest []byte

// New makes the connector.
func New() *rest.Connector {
	return rest.NewVendor(rest.Vendor{
		Name:     "hubspot",
		Manifest: manifest,
		Options: []connectors.OptionSpec{
			{Name: "api_version", Where: connectors.OnServer, Default: "v3", Help: "Version of the API: v3, or that of a date, such as 2026-03."},
			{Name: "search_groups", Where: connectors.OnServer, Default: "5", Help: "Most filter groups of a search. What takes more is searched for several times."},
			{Name: "search_filters_in_group", Where: connectors.OnServer, Default: "6", Help: "Most filters of a group."},
			{Name: "search_filters", Where: connectors.OnServer, Default: "18", Help: "Most filters of a search."},
			{Name: "searches_per_second", Where: connectors.OnServer, Default: "4", Help: "Most searches a second on average; HubSpot refuses the sixth within a second."},
			{Name: "archived", Where: connectors.OnTable, Help: "true: the table shows the records that were archived (deleted), and cannot be written."},
		},
		Adapt: adapt,
		Open: func(api *rest.API) (rest.Hooks, error) {
			a := &account{api: api, version: optionOr(api.Server.Options, "api_version", "v3")}
			return rest.Hooks{Objects: a.objects, Object: a.object, Bind: bind, Table: a.table, Refusal: refusal, Lost: []string{"VALIDATION_ERROR"}, Complete: true}, nil
		},
	})
}

// account is an account of HubSpot's, with one credential.
type account struct {
	api     *rest.API
	version string // v3, or a date

	mu     sync.Mutex // guards what follows: the custom objects, and when they were asked for
	custom []schema
	asked  time.Time
}

func optionOr(options map[string]string, name, usual string) string {
	if v, ok := options[name]; ok {
		return v
	}
	return usual
}

var versions = regexp.MustCompile(`^(v3|\d{4}-\d{2})$`)

// path of a family of calls: objects, properties, owners.
func (a *account) path(family string) string { return pathIn(a.version, family) }

func pathIn(version, family string) string {
	if version == "v3" {
		return "/crm/v3/" + family
	}
	return "/crm/" + family + "/" + version
}

// adapt sets what the server's options say in the manifest.
func adapt(server connectors.ServerSpec, m *rest.Manifest) error {
	version := optionOr(server.Options, "api_version", "v3")
	if !versions.MatchString(version) {
		return &connectors.Error{Class: connectors.InvalidOptionValue, API: m.Name,
			Message: fmt.Sprintf("invalid value for option %q: %q", "api_version", version), Hint: "It is v3, or a year and a month: 2026-03."}
	}
	m.Objects[0].Path = pathIn(version, "owners")
	wrong := func(name, hint string) error {
		return &connectors.Error{Class: connectors.InvalidOptionValue, API: m.Name,
			Message: fmt.Sprintf("invalid value for option %q: %q", name, server.Options[name]), Hint: hint}
	}
	if text, given := server.Options["searches_per_second"]; given {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || !(f >= 0.001 && f <= 1e6) {
			return wrong("searches_per_second", "It is a number from 0.001 to 1000000.")
		}
		m.Limits.Classes[0].PerSecond = f
	}
	for i := range m.Ways {
		if m.Ways[i].Name != "search" {
			continue
		}
		f := m.Ways[i].Filter
		for _, o := range []struct {
			name string
			to   *int
		}{{"search_groups", &f.MaxGroups}, {"search_filters_in_group", &f.MaxInGroup}, {"search_filters", &f.MaxTerms}} {
			text, given := server.Options[o.name]
			if !given {
				continue
			}
			n, err := strconv.Atoi(text)
			if err != nil || n < 2 || n > 1000 {
				return wrong(o.name, "It is a number from 2 to 1000.")
			}
			*o.to = n
		}
	}
	return nil
}

// bind makes of an object what a table with option archived shows.
func bind(_ context.Context, spec connectors.TableSpec, o *rest.Object) (*rest.Object, error) {
	text, given := spec.Options["archived"]
	if !given {
		return o, nil
	}
	archived, err := strconv.ParseBool(text)
	if err != nil {
		return nil, &connectors.Error{Class: connectors.InvalidOptionValue, API: "HubSpot",
			Message: fmt.Sprintf("invalid value for option %q: %q", "archived", text), Hint: "It is true or false."}
	}
	if !archived {
		return o, nil
	}
	shown := *o
	// Searches never find them, and nothing about them can be changed.
	shown.Name += archivedSuffix
	shown.Query = append(shown.Query[:len(shown.Query):len(shown.Query)], rest.Pair{Name: "archived", Value: "true"})
	shown.Ways, shown.Modified, shown.Unique, shown.Lookups = []string{}, "", nil, nil
	off := &rest.Write{Off: true}
	shown.Create, shown.Update, shown.Delete, shown.Upsert = off, off, off, off
	return &shown, nil
}

// archivedSuffix keeps the cache of a table's archived records apart.
const archivedSuffix = " (archived)"
