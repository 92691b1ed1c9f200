// hallway version.

package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/hallwaydb/hallway/sidecar/bridge"
)

// version is set by the linker for releases: -X main.version=1.2.3.
var version = "0.1.0"

// commit is the revision that the binary was built from; empty: unknown.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	out, dirty := "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			out = s.Value[:min(len(s.Value), 12)]
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "+"
			}
		}
	}
	return out + dirty
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Say which version this is, and which protocol it speaks",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			at := commit()
			if at != "" {
				at = " (" + at + ")"
			}
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "hallway %s%s\nprotocol %d.%d\n%s %s/%s\n", version, at,
				bridge.ProtocolMajor, bridge.ProtocolMinor, runtime.Version(), runtime.GOOS, runtime.GOARCH); err != nil {
				return fmt.Errorf("printing: %w", err)
			}
			return nil
		},
	}
}
