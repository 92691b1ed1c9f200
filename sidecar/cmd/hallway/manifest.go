// hallway manifest.

package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/hallwaydb/hallway/connectors/rest"
)

func newManifest() *cobra.Command {
	cmd := &cobra.Command{Use: "manifest", Short: "Work with manifests, which describe APIs"}
	cmd.AddCommand(&cobra.Command{
		Use: "check FILE...", Short: "Say what is wrong with manifests, by line",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			bad := 0
			for _, f := range files {
				problems := checkManifest(f)
				if len(problems) == 0 {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", f)
					continue
				}
				bad++
				for _, p := range problems {
					fmt.Fprintln(cmd.OutOrStdout(), p)
				}
			}
			if bad > 0 {
				return fmt.Errorf("%d of %d manifests cannot be used", bad, len(files))
			}
			return nil
		},
	})
	return cmd
}

// checkManifest lists a file's problems as "file:line: what".
func checkManifest(file string) []string {
	text, err := os.ReadFile(file)
	if err != nil {
		return []string{err.Error()}
	}
	_, err = rest.Parse(file, text)
	var me *rest.ManifestError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &me):
		out := make([]string, 0, len(me.Problems))
		for _, p := range me.Problems {
			if p.Line > 0 {
				out = append(out, fmt.Sprintf("%s:%d: %s", file, p.Line, p))
			} else {
				out = append(out, fmt.Sprintf("%s: %s", file, p))
			}
		}
		return out
	}
	return []string{file + ": " + err.Error()}
}
