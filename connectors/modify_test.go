package connectors

import "testing"

func TestRequestKey(t *testing.T) {
	for _, c := range []struct {
		write    string
		first, n int
		want     string
	}{{"ab", 0, 0, "ab-0"}, {"ab", 12, 3, "ab-12-3"}, {"ab-i", 0, 1, "ab-i-0-1"}, {"ab-i2", 4, 0, "ab-i2-4"}, {"ab-d12x0", 100, 0, "ab-d12x0-100"}} {
		key := RequestKey(c.write, c.first, c.n)
		write, first, n, ok := ParseRequestKey(key)
		if key != c.want || !ok || write != c.write || first != c.first || n != c.n {
			t.Errorf("%q, want %q, is %q %d %d %v", key, c.want, write, first, n, ok)
		}
	}
	for _, key := range []string{"", "ab", "ab-i2", "ab-", "ab-01", "ab-+1", "12345678901234567890123456789012"} {
		if write, first, n, ok := ParseRequestKey(key); ok {
			t.Errorf("%q: %q %d %d", key, write, first, n)
		}
	}
}
