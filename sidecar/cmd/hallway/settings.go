// hallway settings.

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hallwaydb/hallway/sidecar/config"
)

//go:generate sh -c "go run . settings > ../../../packaging/hallway.yaml.new && mv ../../../packaging/hallway.yaml.new ../../../packaging/hallway.yaml"

func newSettings() *cobra.Command {
	return &cobra.Command{
		Use: "settings", Short: "Print a settings file with every setting explained and its default",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := fmt.Fprint(cmd.OutOrStdout(), config.Example()); err != nil {
				return fmt.Errorf("printing: %w", err)
			}
			return nil
		},
	}
}
