package journal

// What the sidecar's role must be allowed in a database.

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ErrNoJournal means that the extension is not in the database, or is older than the journal.
var ErrNoJournal = errors.New("there is no hallway.write_log")

// Missing is a right that the role has not.
type Missing struct {
	// Right as "INSERT on hallway.write_log"; Mend is the statement that gives it,
	// for a superuser.
	Right, Mend string
}

// missingRights has a row for each right that is not there.
const missingRights = `WITH needed (privilege, object, kind) AS (VALUES
  ('USAGE', 'hallway', 'SCHEMA'),
  ('SELECT', 'hallway.write_log', 'TABLE'), ('INSERT', 'hallway.write_log', 'TABLE'),
  ('UPDATE', 'hallway.write_log', 'TABLE'), ('DELETE', 'hallway.write_log', 'TABLE'),
  ('EXECUTE', 'hallway.relation_definition(regclass, oid)', 'FUNCTION'),
  ('EXECUTE', 'pg_catalog.pg_control_system()', 'FUNCTION'),
  ('EXECUTE', 'pg_catalog.pg_current_xact_id()', 'FUNCTION'),
  ('EXECUTE', 'pg_catalog.pg_xact_status(xid8)', 'FUNCTION'),
  ('EXECUTE', 'pg_catalog.pg_current_wal_lsn()', 'FUNCTION'),
  ('EXECUTE', 'pg_catalog.pg_walfile_name(pg_lsn)', 'FUNCTION'),
  ('EXECUTE', 'pg_catalog.pg_notify(text, text)', 'FUNCTION'))
SELECT privilege || ' on ' || CASE kind WHEN 'TABLE' THEN '' ELSE lower(kind) || ' ' END || object,
  format('GRANT %s ON %s %s TO %I', privilege, kind, object, current_user)
FROM needed
WHERE NOT CASE kind
  WHEN 'SCHEMA' THEN has_schema_privilege(object, privilege)
  WHEN 'TABLE' THEN has_schema_privilege('hallway', 'USAGE') IS NOT TRUE OR has_table_privilege(object, privilege)
  ELSE split_part(object, '.', 1) = 'hallway' AND has_schema_privilege('hallway', 'USAGE') IS NOT TRUE OR has_function_privilege(object, privilege) END`

// MissingRights are those that the journal needs and the connection's role has not.
// ErrNoJournal: they cannot be told.
func MissingRights(ctx context.Context, conn *pgx.Conn) ([]Missing, error) {
	var there bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
  WHERE s.nspname = 'hallway' AND c.relname = 'write_log')`).Scan(&there); err != nil {
		return nil, fmt.Errorf("looking for the journal: %w", err)
	}
	if !there {
		return nil, ErrNoJournal
	}
	rows, err := conn.Query(ctx, missingRights)
	if err != nil {
		return nil, fmt.Errorf("asking for rights: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Missing])
	if err != nil {
		return nil, fmt.Errorf("asking for rights: %w", err)
	}
	return list, nil
}
