package e2e

// A consumer of logical decoding by pgoutput, version 1 of its protocol
// (https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html).

import (
	wire "encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// rowChange is a change of a row; a DELETE has the key's values alone.
type rowChange struct {
	op     string
	values map[string]string // NULLs are left out
}

// decodePgoutput gives the changes of the transactions in messages, and fails if
// one is not whole.
func decodePgoutput(t *testing.T, messages [][]byte) (changes []rowChange) {
	t.Helper()
	type column struct {
		name string
		key  bool
	}
	relations := map[uint32][]column{}
	open := false
	for _, m := range messages {
		at := 1
		take := func(n int) []byte {
			require.LessOrEqual(t, at+n, len(m), "message %q is cut", m[0])
			at += n
			return m[at-n : at]
		}
		text := func() string {
			from := at
			for take(1)[0] != 0 {
			}
			return string(m[from : at-1])
		}
		tuple := func(columns []column, keyOnly bool) map[string]string {
			require.Equal(t, len(columns), int(wire.BigEndian.Uint16(take(2))))
			values := map[string]string{}
			for _, c := range columns {
				switch kind := take(1)[0]; kind {
				case 'n', 'u':
				case 't':
					v := string(take(int(wire.BigEndian.Uint32(take(4)))))
					if c.key || !keyOnly {
						values[c.name] = v
					}
				default:
					t.Fatalf("a value of kind %q", kind)
				}
			}
			return values
		}
		if m[0] != 'B' {
			require.True(t, open, "%q outside of a transaction", m[0])
		}
		switch m[0] {
		case 'B':
			require.False(t, open)
			open = true
		case 'C':
			open = false
		case 'R':
			id := wire.BigEndian.Uint32(take(4))
			text() // schema
			text() // name
			take(1)
			columns := make([]column, wire.BigEndian.Uint16(take(2)))
			for i := range columns {
				columns[i].key = take(1)[0] == 1
				columns[i].name = text()
				take(8)
			}
			relations[id] = columns
		case 'I', 'U', 'D':
			columns := relations[wire.BigEndian.Uint32(take(4))]
			require.NotEmpty(t, columns, "a change before its relation")
			c := rowChange{op: map[byte]string{'I': "INSERT", 'U': "UPDATE", 'D': "DELETE"}[m[0]]}
			kind := take(1)[0]
			c.values = tuple(columns, kind != 'N')
			if m[0] == 'U' && kind != 'N' { // the old key, then the new row
				require.Equal(t, byte('N'), take(1)[0])
				c.values = tuple(columns, false)
			}
			changes = append(changes, c)
		case 'Y', 'O':
		default:
			t.Fatalf("a message of kind %q", m[0])
		}
	}
	require.False(t, open, "a transaction without an end")
	return changes
}
