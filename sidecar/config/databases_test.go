package config

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseDatabase(t *testing.T) {
	for text, want := range map[string]Database{
		"crm":                               {"/var/run/postgresql", 5432, "crm"},
		"dbname=crm":                        {"/var/run/postgresql", 5432, "crm"},
		"host=/run/pg port=5433 dbname=crm": {"/run/pg", 5433, "crm"},
	} {
		got, err := ParseDatabase(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for text, want := range map[string]string{
		"": "a database's name", "postgres://x/y": "a database's name", "host=localhost dbname=x": "absolute directory",
		"dbname=x port=0": "a port", "port=1": "dbname is missing", "dbname=x password=y": "host, port and dbname",
	} {
		_, err := ParseDatabase(text)
		assert.ErrorContains(t, err, want, text)
	}
}
