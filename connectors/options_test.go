package connectors_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
)

func TestCheckOptions(t *testing.T) {
	specs := []connectors.OptionSpec{
		{Name: "base_url", Where: connectors.OnServer, Required: true, Help: "The API's address, an https URL."},
		{Name: "page_size", Where: connectors.OnServer},
		{Name: "token", Where: connectors.OnUserMapping, Secret: true},
	}
	for name, c := range map[string]struct {
		where     connectors.Where
		on        string
		given     map[string]string
		msg, hint string
	}{
		"good":   {where: connectors.OnServer, given: map[string]string{"base_url": "x", "connector": "rest", "address": "a"}},
		"common": {where: connectors.OnColumn, given: map[string]string{"field": "x", "key": "true"}},
		"near": {where: connectors.OnServer, given: map[string]string{"base_ulr": "x"},
			msg:  `invalid option "base_ulr" for a server`,
			hint: `Perhaps you meant the option "base_url". Valid options for a server: address, async_capable, base_url, batch_size, cache, cache_scope, compare_every, connector, journal, journal_values, max_age, on_rollback, page_size, refresh_every, stale_while_error, sync_as, sync_overlap, updatable, update_reads, webhook_secret, write_at.`},
		"far": {where: connectors.OnServer, on: `server "crm"`, given: map[string]string{"colour": "x"},
			msg:  `invalid option "colour" for server "crm"`,
			hint: `Valid options for server "crm": address, async_capable, base_url, batch_size, cache, cache_scope, compare_every, connector, journal, journal_values, max_age, on_rollback, page_size, refresh_every, stale_while_error, sync_as, sync_overlap, updatable, update_reads, webhook_secret, write_at.`},
		"elsewhere": {where: connectors.OnUserMapping, given: map[string]string{"page_size": "s3cret"},
			msg: `invalid option "page_size" for a user mapping`, hint: `Valid options for a user mapping: authorization, token.`},
		"none": {where: connectors.OnImport, given: map[string]string{"x": ""},
			msg: `invalid option "x" for an import`, hint: `There are no options for an import.`},
		"missing": {where: connectors.OnServer, given: map[string]string{},
			msg: `option "base_url" is required for a server`, hint: "The API's address, an https URL."},
	} {
		t.Run(name, func(t *testing.T) {
			err := connectors.CheckOptions(specs, c.where, c.on, c.given)
			if c.msg == "" {
				require.NoError(t, err)
				return
			}
			var e *connectors.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, connectors.InvalidOption, e.Class)
			require.Equal(t, c.msg, e.Message)
			require.Equal(t, c.hint, e.Hint)
			require.NotContains(t, e.Message+e.Hint, "s3cret")
		})
	}
}

func TestNearest(t *testing.T) {
	valid := []string{"rows", "seed", "page_rows", "latency"}
	require.Equal(t, "rows", connectors.Nearest("row", valid))
	require.Equal(t, "latency", connectors.Nearest("latnecy", valid))
	require.Equal(t, "page_rows", connectors.Nearest("pagerows", valid))
	require.Equal(t, "seed", connectors.Nearest("SEED", valid))
	require.Empty(t, connectors.Nearest("q", valid))
	require.Empty(t, connectors.Nearest("manifest", valid))
}
