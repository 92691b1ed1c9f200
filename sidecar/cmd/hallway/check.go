// hallway check.

package main

import (
	"github.com/spf13/cobra"
)

func newCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Check the settings, and say how to mend what is wrong",
		Args: cobra.NoArgs,
	}
	load := settingsFlags(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		_, err := load()
		return err
	}
	return cmd
}
