// The log: slog on standard error.

package ops

import (
	"io"
	"log/slog"
)

// NewLogHandler writes to w from level on, as "json" or, else, text.
func NewLogHandler(w io.Writer, level slog.Level, format string) slog.Handler {
	opts := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.NewJSONHandler(w, opts)
	}
	return slog.NewTextHandler(w, opts)
}
