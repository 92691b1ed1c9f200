package harness

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
)

// DatabaseEncoded is Database in another encoding than the cluster's, such as
// "LATIN1", with collation C. Sessions speak UTF-8 unless they say otherwise.
func (e *Env) DatabaseEncoded(t testing.TB, encoding string) *Database {
	t.Helper()
	d := &Database{Name: fmt.Sprintf("t%d", e.next()), Env: e, Cluster: e.Cluster}
	ctx := context.Background()
	script, err := d.Cluster.extensionSQL()
	if err != nil {
		t.Fatal(err)
	}
	admin, err := pgx.Connect(ctx, d.Cluster.DSN("postgres", "postgres"))
	if err != nil {
		t.Fatalf("connecting: %v", err)
	}
	defer func() { _ = admin.Close(ctx) }()
	sql := fmt.Sprintf("CREATE DATABASE %s TEMPLATE template0 ENCODING '%s' LC_COLLATE 'C' LC_CTYPE 'C'", d.Name, encoding)
	if _, err := admin.Exec(ctx, sql); err != nil {
		t.Fatalf("creating a database: %v", err)
	}
	t.Cleanup(func() { d.drop() })
	c := d.Connect(t)
	c.Exec("%s", script)
	c.Exec("ALTER DATABASE %s SET hallway.address = '%s'; ALTER DATABASE %[1]s SET client_encoding = 'UTF8'", d.Name, e.Sidecar.Address())
	return d
}
