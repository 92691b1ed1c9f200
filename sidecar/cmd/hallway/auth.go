// hallway auth: a person lets a foreign server use the API in their name.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/bridge"
	"github.com/hallwaydb/hallway/sidecar/config"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

// authorizer is a Source whose credential a person authorizes.
type authorizer interface {
	Authorization() (client *transport.Client, params map[string]string)
}

func newAuth() *cobra.Command {
	var database, role, redirect string
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "auth SERVER", Short: "Let a person authorize a foreign server's use of its API (OAuth2)",
		Long: `Let a person authorize a foreign server's use of its API (OAuth2).

It reads the foreign server and the user mapping from the database, prints a URL
to be opened in a browser on this machine, waits for the answer and keeps the
refresh token in the directory of the setting "tokens". Run it as the sidecar's
user, with the sidecar's settings. The user mapping has the options client_id,
authorization (a name of your choice) and, if the API gave one, client_secret.

On a server without a browser, forward the port of a fixed redirect, such as
--redirect http://localhost:8080/callback, by ssh -L.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("name one foreign server: hallway auth SERVER")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&database, "database", "", "connection string of the database, as psql takes it; of a role that may read the user mapping: a superuser, or the mapped role (default: PGHOST, PGDATABASE, ...)")
	cmd.Flags().StringVar(&role, "role", "", "role whose user mapping it is; public for that of all (default: the role that connects, else public)")
	cmd.Flags().StringVar(&redirect, "redirect", "", "loopback URL that is registered with the API (default http://127.0.0.1/callback, at any free port)")
	cmd.Flags().DurationVar(&wait, "wait", 5*time.Minute, "how long to wait for the person")
	load := settingsFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := load()
		if err != nil {
			return err
		}
		server, connector, err := foreignServer(cmd.Context(), database, args[0], role)
		if err != nil {
			return err
		}
		return authorize(cmd.Context(), cmd.OutOrStdout(), s, server, connector, transport.Authorization{Redirect: redirect}, wait)
	}
	return cmd
}

// foreignServer reads a server and a user mapping.
func foreignServer(ctx context.Context, database, name, role string) (spec connectors.ServerSpec, connector string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return spec, "", fmt.Errorf("connecting to the database (see --database): %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var server, mapping []string
	var mapped string
	err = conn.QueryRow(ctx, `SELECT s.srvname, coalesce(s.srvoptions, '{}'), m.usename, coalesce(m.umoptions, '{}')
FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw AND w.fdwname = 'hallway'
  LEFT JOIN LATERAL (SELECT coalesce(usename, 'public') AS usename, umoptions FROM pg_user_mappings
    WHERE srvid = s.oid AND CASE WHEN $2 = '' THEN usename = current_user OR usename = 'public' ELSE usename = $2 END
    ORDER BY usename = 'public' LIMIT 1) m ON true
WHERE s.srvname = $1`, name, role).Scan(&spec.Name, &server, (*nullText)(&mapped), &mapping)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return spec, "", fmt.Errorf("there is no server %q of the foreign-data wrapper hallway in this database", name)
	case err != nil:
		return spec, "", fmt.Errorf("reading the server %q: %w", name, err)
	case mapped == "":
		return spec, "", fmt.Errorf("server %q has no user mapping for this role: CREATE USER MAPPING FOR ... SERVER %s OPTIONS (client_id '...', authorization '...'), or name another with --role", name, name)
	}
	spec.Options, spec.Credential, spec.User = options(server), options(mapping), mapped
	if len(spec.Credential) == 0 {
		return spec, "", fmt.Errorf("the user mapping of %q for %q has no options, or this role may not see them: connect as a superuser", name, mapped)
	}
	connector = spec.Options["connector"]
	return spec, connector, nil
}

// nullText is a text of which NULL is the empty one.
type nullText string

// Scan takes what the database gives.
func (t *nullText) Scan(v any) error {
	if v == nil {
		*t = ""
		return nil
	}
	text, ok := v.(string)
	if !ok {
		return fmt.Errorf("expected a text, got %T", v)
	}
	*t = nullText(text)
	return nil
}

// options takes name=value apart.
func options(list []string) map[string]string {
	out := make(map[string]string, len(list))
	for _, o := range list {
		k, v, _ := strings.Cut(o, "=")
		out[k] = v
	}
	return out
}

func authorize(ctx context.Context, out io.Writer, s *config.Settings, server connectors.ServerSpec, connector string, how transport.Authorization, wait time.Duration) error {
	c, err := registry().Get(connector)
	if err != nil {
		return said(err)
	}
	if name := server.Credential["secret"]; name != "" {
		delete(server.Credential, "secret")
		if server.Credential, err = bridge.WithSecret(secretStore(s), c, name, server.Credential); err != nil {
			return said(err)
		}
	}
	// What the shim keeps for itself is no connector's.
	for _, o := range connectors.CommonOptions() {
		if o.Where == connectors.OnServer {
			delete(server.Options, o.Name)
		}
	}
	source, err := c.Open(ctx, environment(s, slog.New(slog.DiscardHandler), nil), server)
	if err != nil {
		return said(err)
	}
	defer func() { _ = source.Close() }()
	a, ok := source.(authorizer)
	if !ok {
		return fmt.Errorf("connector %q has no authorization by a person", connector)
	}
	client, params := a.Authorization()
	if !client.Authorizes() {
		return fmt.Errorf("the user mapping of %q is not one that a person authorizes: it needs the options client_id and authorization, and the API the grant authorization_code", server.Name)
	}
	how.Params = params
	how.Show = func(url string) {
		_, _ = fmt.Fprintf(out, "Open this in a browser on this machine:\n\n  %s\n\nWaiting for the answer ...\n", url)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if err := client.Authorize(ctx, how); err != nil {
		return said(err)
	}
	_, err = fmt.Fprintf(out, "Authorized: kept as %q in %s.\n", server.Credential["authorization"], s.Tokens)
	return err //nolint:wrapcheck // of the terminal
}

// said is an error with all that it says to people.
func said(err error) error {
	var e *connectors.Error
	if !errors.As(err, &e) {
		return err
	}
	text := e.Message
	for _, more := range []string{e.Detail, e.Hint} {
		if more != "" {
			text += "\n  " + more
		}
	}
	return errors.New(text)
}
