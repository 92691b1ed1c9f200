package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProcessors(t *testing.T) {
	for _, c := range []struct {
		name             string
		setting, granted int
		variable         string
		want             int
	}{
		{"half of many", 0, 8, "", 4},
		{"of an odd number", 0, 5, "", 2},
		{"of two", 0, 2, "", 1},
		{"there is but one", 0, 1, "", 1},
		{"as many as given", 3, 8, "", 3},
		{"more than it has", 6, 2, "", 6},
		{"the variable", 0, 8, "8", 8},
		{"the setting before the variable", 2, 8, "8", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, processors(c.setting, c.granted, c.variable))
		})
	}
}
