// Command hallway is the sidecar: it serves PostgreSQL backends on a Unix
// socket and calls APIs for them.
//
// This file is the command line; serve.go, check.go, auth.go and version.go are its
// commands, registry.go the list of connectors.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hallwaydb/hallway/sidecar/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := newRoot().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "hallway:", err)
		os.Exit(1)
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "hallway",
		Short:         "The sidecar that shows APIs to PostgreSQL as tables",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(newServe(), newCheck(), newAuth(), newManifest(), newSettings(), newVersion())
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}

// settingsFlags gives cmd a flag for each setting; load reads them all.
func settingsFlags(cmd *cobra.Command) (load func() (*config.Settings, error)) {
	file := cmd.Flags().String("config", "", "settings file; also HALLWAY_CONFIG (default "+config.DefaultFile+", if there is one)")
	defaults := config.Default()
	for _, f := range config.Fields() {
		help := f.Help
		if v := f.Value(defaults); v != "" {
			help += " Default " + v + "."
		}
		// Unquoted, so that pflag takes no word in quotes for a value's name.
		cmd.Flags().String(f.Flag(), "", help)
		cmd.Flags().Lookup(f.Flag()).DefValue = ""
	}
	return func() (*config.Settings, error) {
		path := *file
		if path == "" {
			path = os.Getenv("HALLWAY_CONFIG")
		}
		given := map[string]string{}
		for _, f := range config.Fields() {
			if fl := cmd.Flags().Lookup(f.Flag()); fl.Changed {
				given[f.Flag()] = fl.Value.String()
			}
		}
		return config.Load(path, os.Environ(), given)
	}
}
