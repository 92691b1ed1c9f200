// Telling systemd how we are. Without it nothing happens.

package ops

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notify sends a state such as daemon.SdNotifyReady to systemd, if it waits
// for one.
func Notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("could not tell systemd", "state", state, "error", err)
	}
}

// Watchdog tells systemd that we live, twice in its interval, for as long as
// alive says so. It returns at once if systemd does not ask, else when ctx ends.
func Watchdog(ctx context.Context, log *slog.Logger, alive func() bool) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every <= 0 {
		return
	}
	tick := time.NewTicker(every / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if alive() {
				Notify(log, daemon.SdNotifyWatchdog)
			}
		}
	}
}
