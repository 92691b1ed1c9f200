package faults

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/tests/fakes"
	"github.com/hallwaydb/hallway/tests/harness"
)

// protocolViolation is what a backend says of a sidecar that breaks the
// contract.
const protocolViolation = "08P01"

type stream = grpc.ServerStreamingServer[hallwayv1.ScanResponse]

func socket(t *testing.T) string {
	t.Helper()
	dir, err := env.Mkdir("br")
	require.NoError(t, err)
	return filepath.Join(dir, "s")
}

// badTable makes foreign table "f" at a fake sidecar's socket, in a database of its
// own. at leads it to another one: databases take longer than what is tested.
func badTable(t *testing.T, sock string) *harness.Conn {
	t.Helper()
	c := env.Database(t).Connect(t)
	server(c, "unix:"+sock)
	c.Exec(`CREATE TYPE mood AS ENUM ('sad', 'ok');
		CREATE FOREIGN TABLE f (i int4, t text, v varchar(3), n numeric, b bool, d date, tz timestamptz,
			u uuid, j jsonb, by bytea, a int4[], e mood, f8 float8) SERVER s`)
	return c
}

func at(t *testing.T, c *harness.Conn, sock string) *harness.Conn {
	t.Helper()
	c = c.On(t)
	c.Exec("ALTER SERVER s OPTIONS (SET address 'unix:%s')", sock)
	return c
}

// bridge starts a fake sidecar and gives its socket.
func bridge(t *testing.T, b *fakes.Bridge) string {
	t.Helper()
	sock := socket(t)
	require.NoError(t, b.Listen(sock))
	t.Cleanup(b.Close)
	return sock
}

// Rows that break the binary format are an error of that statement, never a
// crash, and the connection serves the next statement.
func TestBatch_MalformedIsAnErrorNeverACrash(t *testing.T) {
	one := fakes.Int4(1)
	long := func(n int) []byte { return []byte(strings.Repeat("x", n)) }
	raw := func(s string) []byte { return []byte(s) }
	c := badTable(t, "/nonexistent")
	for _, tc := range []struct {
		name, columns string
		rows          uint32
		tuples        []byte
		// state that is right; empty: protocolViolation.
		state string
	}{
		{"fewer rows than said", "i", 2, fakes.Tuple(one), ""},
		{"more rows than said", "i", 1, append(fakes.Tuple(one), fakes.Tuple(one)...), ""},
		{"rows said, no bytes", "i", 5, nil, ""},
		{"no rows said, bytes", "i", 0, fakes.Tuple(one), ""},
		{"four thousand million rows", "i", 0xffffffff, fakes.Tuple(one), ""},
		{"too many columns", "i", 1, fakes.Tuple(one, one), ""},
		{"too few columns", "i, t", 1, fakes.Tuple(one), ""},
		{"negative column count", "i", 1, raw("\xff\xff"), ""},
		{"half a column count", "i", 1, raw("\x00"), ""},
		{"half a length", "i", 1, raw("\x00\x01\x00\x00"), ""},
		{"negative length", "i", 1, raw("\x00\x01\xff\xff\xff\xfe"), ""},
		{"length past the end", "i", 1, raw("\x00\x01\x00\x00\x00\x04\x00\x00"), ""},
		{"length of two gigabytes", "t", 1, raw("\x00\x01\x7f\xff\xff\xffabc"), ""},
		{"length that wraps", "t", 1, raw("\x00\x01\x80\x00\x00\x00abc"), ""},
		{"int4 of three bytes", "i", 1, fakes.Tuple(long(3)), ""},
		{"int4 of eight bytes", "i", 1, fakes.Tuple(long(8)), ""},
		{"float8 of four bytes", "f8", 1, fakes.Tuple(one), ""},
		{"bool of two bytes", "b", 1, fakes.Tuple(long(2)), ""},
		{"date of one byte", "d", 1, fakes.Tuple(long(1)), ""},
		{"date out of range", "d", 1, fakes.Tuple(raw("\x7f\xff\xff\xf0")), "22008"},
		{"timestamptz out of range", "tz", 1, fakes.Tuple(raw("\x7f\xff\xff\xff\xff\xff\xff\xf0")), "22008"},
		{"uuid of fifteen bytes", "u", 1, fakes.Tuple(long(15)), ""},
		{"text that is not UTF-8", "t", 1, fakes.Tuple(raw("a\xff\xfeb")), "22021"},
		{"text that ends inside a character", "t", 1, fakes.Tuple(raw("a\xe2\x82")), "22021"},
		{"text with a zero byte", "t", 1, fakes.Tuple(raw("a\x00b")), "22021"},
		{"varchar past its length", "v", 1, fakes.Tuple(raw("abcd")), "22001"},
		{"numeric of nothing", "n", 1, fakes.Tuple(raw("")), ""},
		{"numeric with digits past its end", "n", 1, fakes.Tuple(raw("\x7f\xff\x00\x00\x00\x00\x00\x00")), ""},
		{"numeric with a digit of 10000", "n", 1, fakes.Tuple(raw("\x00\x01\x00\x00\x00\x00\x00\x00\x27\x10")), "22P03"},
		{"numeric with an unknown sign", "n", 1, fakes.Tuple(raw("\x00\x00\x00\x00\x12\x34\x00\x00")), "22P03"},
		{"jsonb of version 9", "j", 1, fakes.Tuple(raw("\x09{}")), ""},
		{"jsonb that is not JSON", "j", 1, fakes.Tuple(raw("\x01{\"a\":")), "22P02"},
		{"enum with an unknown label", "e", 1, fakes.Tuple(raw("furious")), "22P02"},
		{"array with 100 dimensions", "a", 1, fakes.Tuple(raw("\x00\x00\x00\x64\x00\x00\x00\x00\x00\x00\x00\x17")), ""},
		{"array of another element type", "a", 1, fakes.Tuple(raw("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x19")), ""},
		{"array that is two thousand million long", "a", 1, fakes.Tuple(raw("\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x17\x7f\xff\xff\xff\x00\x00\x00\x01")), "54000"},
		{"array of nothing", "a", 1, fakes.Tuple(raw("")), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := at(t, c, bridge(t, &fakes.Bridge{OnScan: func(_ *hallwayv1.ScanRequest, s stream) error {
				return fakes.SendAll(s, fakes.Header(), fakes.Batch(tc.rows, tc.tuples), fakes.Footer())
			}}))
			_, err := c.Try("SELECT %s FROM f", tc.columns)
			wantState(t, err, tc.state)
			alive(t, c)
		})
	}
}

// wantState is empty for protocolViolation.
func wantState(t *testing.T, err error, state string) {
	t.Helper()
	if state == "" {
		state = protocolViolation
	}
	require.Error(t, err)
	require.Equal(t, state, harness.SQLState(err), "%s", harness.Describe(err))
}

// Messages that are well-formed but not what the contract allows.
func TestAnswer_AgainstTheContractIsAnError(t *testing.T) {
	row := fakes.Batch(1, fakes.Tuple(fakes.Int4(1)))
	scan := func(messages ...*hallwayv1.ScanResponse) *fakes.Bridge {
		return &fakes.Bridge{OnScan: func(_ *hallwayv1.ScanRequest, s stream) error { return fakes.SendAll(s, messages...) }}
	}
	plan := func(change func(*hallwayv1.PlanResponse)) *fakes.Bridge {
		return &fakes.Bridge{OnPlan: func(r *hallwayv1.PlanRequest) (*hallwayv1.PlanResponse, error) {
			p := fakes.PlanAll(r, hallwayv1.Verdict_VERDICT_EXACT)
			change(p)
			return p, nil
		}}
	}
	c := badTable(t, "/nonexistent")
	const where = "SELECT i FROM f WHERE i = 1 AND t = 'a' ORDER BY i"
	for _, tc := range []struct {
		name, sql string
		bridge    *fakes.Bridge
		state     string
	}{
		{"rows before the header", "SELECT i FROM f", scan(row, fakes.Footer()), ""},
		{"two headers", "SELECT i FROM f", scan(fakes.Header(), fakes.Header(), fakes.Footer()), ""},
		{"rows after the footer", "SELECT i FROM f", scan(fakes.Header(), fakes.Footer(), row), ""},
		{"no footer", "SELECT i FROM f", scan(fakes.Header(), row), "08006"},
		{"nothing at all", "SELECT i FROM f", scan(), "08006"},
		{"an empty message", "SELECT i FROM f", scan(&hallwayv1.ScanResponse{}), ""},
		{"recheck of a conjunct that is not there", where,
			&fakes.Bridge{
				OnPlan: func(r *hallwayv1.PlanRequest) (*hallwayv1.PlanResponse, error) {
					return fakes.PlanAll(r, hallwayv1.Verdict_VERDICT_EXACT), nil
				},
				OnScan: func(_ *hallwayv1.ScanRequest, s stream) error {
					return fakes.SendAll(s, fakes.Header(7), row, fakes.Footer())
				}}, ""},
		{"too few verdicts", where, plan(func(p *hallwayv1.PlanResponse) { p.Verdicts = p.Verdicts[:min(1, len(p.Verdicts))] }), ""},
		{"too many verdicts", where, plan(func(p *hallwayv1.PlanResponse) { p.Verdicts = append(p.Verdicts, p.Verdicts...) }), ""},
		{"an ordering that was not asked for", where, plan(func(p *hallwayv1.PlanResponse) { p.ExactOrderings = []uint32{9} }), ""},
		{"a key column that is not there", "DELETE FROM f WHERE i = 1",
			&fakes.Bridge{OnDescribe: func(*hallwayv1.DescribeRequest) (*hallwayv1.DescribeResponse, error) {
				return &hallwayv1.DescribeResponse{KeyColumns: []uint32{99}, Deletable: true, Insertable: true, Updatable: true}, nil
			}}, ""},
		{"a lookup column that is not there", where,
			&fakes.Bridge{OnDescribe: func(*hallwayv1.DescribeRequest) (*hallwayv1.DescribeResponse, error) {
				return &hallwayv1.DescribeResponse{LookupKeys: []*hallwayv1.LookupKey{{Columns: []uint32{0, 4_000_000_000}}}}, nil
			}}, ""},
		{"no result for a row", "INSERT INTO f (i) VALUES (1)",
			&fakes.Bridge{OnModify: func(context.Context, *hallwayv1.ModifyRequest) (*hallwayv1.ModifyResponse, error) {
				return &hallwayv1.ModifyResponse{}, nil
			}}, "08007"},
		{"results for rows that were not sent", "INSERT INTO f (i) VALUES (1)",
			&fakes.Bridge{OnModify: func(context.Context, *hallwayv1.ModifyRequest) (*hallwayv1.ModifyResponse, error) {
				a := &hallwayv1.RowResult{Outcome: hallwayv1.RowOutcome_ROW_OUTCOME_APPLIED}
				return &hallwayv1.ModifyResponse{Results: []*hallwayv1.RowResult{a, a, a}}, nil
			}}, "08007"},
		{"an outcome that does not exist", "INSERT INTO f (i) VALUES (1)",
			&fakes.Bridge{OnModify: func(context.Context, *hallwayv1.ModifyRequest) (*hallwayv1.ModifyResponse, error) {
				return &hallwayv1.ModifyResponse{Results: []*hallwayv1.RowResult{{Outcome: 77}}}, nil
			}}, "08007"},
		{"no tuple to return", "INSERT INTO f (i) VALUES (1) RETURNING t",
			&fakes.Bridge{OnModify: func(context.Context, *hallwayv1.ModifyRequest) (*hallwayv1.ModifyResponse, error) {
				return &hallwayv1.ModifyResponse{Results: []*hallwayv1.RowResult{{Outcome: hallwayv1.RowOutcome_ROW_OUTCOME_APPLIED}}}, nil
			}}, ""},
		{"an imported type that is SQL", "CREATE SCHEMA x; IMPORT FOREIGN SCHEMA a FROM SERVER s INTO x",
			&fakes.Bridge{OnImport: func(*hallwayv1.ImportSchemaRequest) (*hallwayv1.ImportSchemaResponse, error) {
				return &hallwayv1.ImportSchemaResponse{Tables: []*hallwayv1.ImportedTable{{Name: "t", Columns: []*hallwayv1.ImportedColumn{
					{Name: "c", Type: "int); CREATE ROLE evil SUPERUSER; CREATE TABLE y (a int"}}}}}, nil
			}}, "42601"},
		{"an imported type that is not there", "CREATE SCHEMA x; IMPORT FOREIGN SCHEMA a FROM SERVER s INTO x",
			&fakes.Bridge{OnImport: func(*hallwayv1.ImportSchemaRequest) (*hallwayv1.ImportSchemaResponse, error) {
				return &hallwayv1.ImportSchemaResponse{Tables: []*hallwayv1.ImportedTable{{Name: "t", Columns: []*hallwayv1.ImportedColumn{{Name: "c", Type: "nonesuch"}}}}}, nil
			}}, "42704"},
		{"a status without details", "SELECT i FROM f",
			&fakes.Bridge{OnScan: func(*hallwayv1.ScanRequest, stream) error { return errors.New("raw") }}, "XX000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := at(t, c, bridge(t, tc.bridge))
			_, err := c.Try("%s", tc.sql)
			wantState(t, err, tc.state)
			alive(t, c)
		})
	}
}

// An answer to a write that says nothing leaves a row that may stand in the API:
// the rollback's warning counts it, and no SQLSTATE invites to write it again.
func TestModify_AnswerNotUnderstoodMayStand(t *testing.T) {
	garbage := &hallwayv1.ModifyResponse{}
	garbage.ProtoReflect().SetUnknown([]byte{0x0a, 0xff})
	for name, answer := range map[string]*hallwayv1.ModifyResponse{
		"no message":          garbage,
		"no result":           {},
		"no outcome":          {Results: []*hallwayv1.RowResult{{}}},
		"another outcome":     {Results: []*hallwayv1.RowResult{{Outcome: 77}}},
		"refused, but why":    {Results: []*hallwayv1.RowResult{{Outcome: hallwayv1.RowOutcome_ROW_OUTCOME_REFUSED}}},
		"more than one row's": {Results: []*hallwayv1.RowResult{{Outcome: 1}, {Outcome: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			sock := bridge(t, &fakes.Bridge{OnModify: func(context.Context, *hallwayv1.ModifyRequest) (*hallwayv1.ModifyResponse, error) {
				return answer, nil
			}})
			db := env.Database(t)
			c := db.Connect(t)
			server(c, "unix:"+sock)
			c.Exec("CREATE FOREIGN TABLE f (i int4) SERVER s")

			config, err := pgconn.ParseConfig(db.Cluster.DSN(db.Name, "postgres"))
			require.NoError(t, err)
			var warnings []string
			config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { warnings = append(warnings, n.Message+" "+n.Detail) }
			conn, err := pgconn.ConnectConfig(t.Context(), config)
			require.NoError(t, err)
			defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
			_, err = harness.Simple(t.Context(), conn, "INSERT INTO f VALUES (1)")
			wantState(t, err, "08007")
			require.Equal(t, []string{"1 row written through Hallway may stand in the API although the transaction was rolled back f: 1 with unknown outcome."}, warnings)
		})
	}
}

// Names that the sidecar gives for import are identifiers, whatever is in them.
func TestImport_NamesAreQuoted(t *testing.T) {
	name := `x"; DROP SCHEMA public CASCADE; --`
	c := badTable(t, bridge(t, &fakes.Bridge{OnImport: func(*hallwayv1.ImportSchemaRequest) (*hallwayv1.ImportSchemaResponse, error) {
		return &hallwayv1.ImportSchemaResponse{Tables: []*hallwayv1.ImportedTable{{Name: name, Comment: "it's '; DROP",
			Options: []*hallwayv1.Option{{Name: "object", Value: "it's"}},
			Columns: []*hallwayv1.ImportedColumn{{Name: `col"umn`, Type: "int4", Comment: "'"}, {Name: "order", Type: "numeric(12,2)"}}}}}, nil
	}}))
	c.Exec("CREATE SCHEMA x; IMPORT FOREIGN SCHEMA a FROM SERVER s INTO x")
	require.Equal(t, []harness.Row{{name, `col"umn`, "integer"}, {name, "order", "numeric(12,2)"}},
		c.Query("SELECT c.relname, a.attname, format_type(atttypid, atttypmod) FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'x'::regnamespace AND relkind = 'f' AND attnum > 0 ORDER BY attnum"))
}

// A sidecar of another protocol version is refused with who is to be upgraded.
func TestHandshake_OtherVersionSaysWhichSideToUpgrade(t *testing.T) {
	c := badTable(t, bridge(t, &fakes.Bridge{OnHandshake: func(*hallwayv1.HandshakeRequest) (*hallwayv1.HandshakeResponse, error) {
		return &hallwayv1.HandshakeResponse{Protocol: &hallwayv1.ProtocolVersion{Major: 9}, SidecarVersion: "9.0.0", InstanceId: "x"}, nil
	}}))
	_, err := c.Try("SELECT i FROM f")
	wantState(t, err, "08004")
	require.Regexp(t, "(?i)upgrade", harness.Describe(err))
	alive(t, c)
}

// Frames that are not gRPC's, on a connection that is proper HTTP/2.
func TestFrame_MalformedIsAnErrorNeverACrash(t *testing.T) {
	c := badTable(t, "/nonexistent")
	for name, tc := range map[string]struct {
		state string
		scan  http.HandlerFunc
	}{
		"length past the end": {"", func(w http.ResponseWriter, _ *http.Request) {
			fakes.StartGRPC(w)
			fakes.WriteRaw(w, false, 100, []byte("abc"))
			fakes.EndGRPC(w, "0", "")
		}},
		"length of four gigabytes": {"", func(w http.ResponseWriter, _ *http.Request) {
			fakes.StartGRPC(w)
			fakes.WriteRaw(w, false, 0xffffffff, []byte("abc"))
			fakes.EndGRPC(w, "0", "")
		}},
		"compressed without saying": {"", func(w http.ResponseWriter, _ *http.Request) {
			fakes.StartGRPC(w)
			fakes.WriteRaw(w, true, 3, []byte("abc"))
			fakes.EndGRPC(w, "0", "")
		}},
		"bytes that are no message": {"", func(w http.ResponseWriter, _ *http.Request) {
			fakes.StartGRPC(w)
			fakes.WriteRaw(w, false, 4, []byte("\xff\xff\xff\xff"))
			fakes.EndGRPC(w, "0", "")
		}},
		"half a frame head": {"", func(w http.ResponseWriter, _ *http.Request) {
			fakes.StartGRPC(w)
			_, _ = w.Write([]byte("\x00\x00"))
			fakes.EndGRPC(w, "0", "")
		}},
		"no status": {"08006", func(w http.ResponseWriter, _ *http.Request) {
			fakes.StartGRPC(w)
			fakes.WriteFrame(w, fakes.Header())
			fakes.WriteFrame(w, fakes.Footer())
		}},
		"a status that is no number": {"XX000", func(w http.ResponseWriter, _ *http.Request) { fakes.StartGRPC(w); fakes.EndGRPC(w, "zwölf", "") }},
		"HTML": {"", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<html>"))
		}},
		"HTTP 502": {"", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "bad gateway", http.StatusBadGateway) }},
		"reset":    {"08006", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		"details that are no base64": {"XX000", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", "13")
			w.Header().Set("Grpc-Status-Details-Bin", "!!!not base64!!!")
			w.WriteHeader(200)
		}},
		"details that are no message": {"XX000", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", "13")
			w.Header().Set("Grpc-Status-Details-Bin", "/////w")
			w.WriteHeader(200)
		}},
		"a header of 200 kB": {"08006", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Grpc-Message", strings.Repeat("m", 200_000))
			w.Header().Set("Grpc-Status", "13")
			w.Header().Set("Content-Type", "application/grpc")
			w.WriteHeader(200)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			sock := socket(t)
			b := &fakes.RawBridge{Scan: tc.scan}
			require.NoError(t, b.Listen(sock))
			t.Cleanup(b.Close)
			c := at(t, c, sock)
			_, err := c.Try("SELECT i FROM f")
			wantState(t, err, tc.state)
			alive(t, c)
		})
	}
}

// A peer that is not a sidecar at all.
func TestPeer_ThatSpeaksSomethingElse(t *testing.T) {
	c := badTable(t, "/nonexistent")
	for name, serve := range map[string]func(net.Conn){
		"closes at once": func(c net.Conn) { _ = c.Close() },
		"HTTP/1.1":       func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")); drain(c) },
		"noise":          func(c net.Conn) { _, _ = c.Write([]byte(strings.Repeat("\xde\xad\xbe\xef", 5000))); drain(c) },
		"settings, then nonsense": func(c net.Conn) {
			_, _ = c.Write([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x00\x00\x05\x99\xff\x00\x00\x00\x07hello" + "\xff\xff\xff\x01\x04\x00\x00\x00\x01"))
			drain(c)
		},
		"GOAWAY at once": func(c net.Conn) {
			_, _ = c.Write([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
			drain(c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			sock := socket(t)
			l, err := net.Listen("unix", sock)
			require.NoError(t, err)
			require.NoError(t, os.Chmod(sock, 0o777))
			t.Cleanup(func() { _ = l.Close() })
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go serve(c)
				}
			}()
			c := at(t, c, sock)
			c.Exec("SET hallway.connect_timeout = '1s'")
			start := time.Now()
			_, err = c.Try("SELECT i FROM f")
			t.Logf("after %s: %s", time.Since(start).Round(time.Millisecond), harness.Describe(err))
			wantState(t, err, "08001")
			require.Less(t, time.Since(start), 30*time.Second)
			alive(t, c)
		})
	}
}

func drain(c net.Conn) {
	b := make([]byte, 4096)
	for {
		if _, err := c.Read(b); err != nil {
			_ = c.Close()
			return
		}
	}
}

// A peer that accepts and never says a word is waited for only so long.
func TestPeer_SilentTimesOut(t *testing.T) {
	sock := socket(t)
	l, err := net.Listen("unix", sock)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(sock, 0o777))
	t.Cleanup(func() { _ = l.Close() })
	c := badTable(t, sock)
	c.Exec("SET hallway.connect_timeout = '300ms'")
	start := time.Now()
	e := c.Fails("08001", "SELECT i FROM f")
	require.Less(t, time.Since(start), 30*time.Second)
	require.NotEmpty(t, e.Hint, "%s", fmt.Sprint(e))
	alive(t, c)
}
