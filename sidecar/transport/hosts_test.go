package transport

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
)

func TestHostAllowed(t *testing.T) {
	for _, tc := range []struct {
		pattern, url string
		want         bool
	}{
		{"api.example.com", "https://api.example.com/x", true},
		{"api.example.com", "https://API.Example.Com./x", true},
		{"api.example.com", "https://api.example.com:8443/x", true},
		{"api.example.com:443", "https://api.example.com/x", true},
		{"api.example.com:80", "http://api.example.com/x", true},
		{"api.example.com:443", "http://api.example.com/x", false},
		{"api.example.com:443", "https://api.example.com:8443/x", false},
		{"example.com", "https://api.example.com/", false},
		{"*.example.com", "https://api.example.com/", true},
		{"*.example.com", "https://a.b.example.com/", true},
		{"*.example.com", "https://example.com/", false},
		{"*.example.com", "https://evilexample.com/", false},
		{"*.example.com:8443", "https://api.example.com:8443/", true},
		{"*.example.com:8443", "https://api.example.com/", false},
		{"example.com", "https://example.com.evil.org/", false},
		{"127.0.0.1", "http://127.0.0.1:8090/", true},
		{"127.0.0.1:8090", "http://127.0.0.1:8091/", false},
		{"[::1]:80", "http://[::1]/", true},
		{"::1", "http://[::1]:99/", true},
		{"*.0.0.1", "http://127.0.0.1/", false},
	} {
		u, err := url.Parse(tc.url)
		require.NoError(t, err)
		assert.Equal(t, tc.want, HostAllowed([]string{"unrelated.org", tc.pattern}, u), "%s for %s", tc.pattern, tc.url)
	}
	u, _ := url.Parse("https://example.com")
	assert.False(t, HostAllowed(nil, u), "nothing is allowed by default")
}

func TestCheckHostPattern(t *testing.T) {
	for _, good := range []string{"example.com", "example.com:443", "*.example.com", "*.example.com:8443", "127.0.0.1:80", "[::1]:80", "::1", "localhost"} {
		require.NoError(t, CheckHostPattern(good), good)
	}
	for _, bad := range []string{"", "*", "*.com", "https://example.com", "a/b", "*.*.com", "example.com:http", "example.com:0x1", "u@h", "a b", "example.com:"} {
		require.Error(t, CheckHostPattern(bad), bad)
	}
}

func TestCheckAddress_NeverWhereCredentialsLive(t *testing.T) {
	for addr, want := range map[string]bool{
		"93.184.216.34": true, "10.1.2.3": true, "192.168.1.1": true, "2606:4700::1": true, "fd12::1": true,
		"169.254.169.254": false, "169.254.0.1": false, "fe80::1": false, "fe80::1%eth0": false,
		"fd00:ec2::254": false, "100.100.100.200": false, "168.63.129.16": false, "192.0.0.192": false, "fd20:ce::254": false,
		"0.0.0.0": false, "0.1.2.3": false, "::": false, "224.0.0.1": false, "ff02::1": false, "255.255.255.255": false,
		"::ffff:169.254.169.254": false, "64:ff9b::a9fe:a9fe": false, "::169.254.169.254": false,
		"127.0.0.1": false, "127.8.8.8": false, "::1": false, "::ffff:127.0.0.1": false, "64:ff9b::7f00:1": false,
		"64:ff9b::5db8:d822": true,
	} {
		err := checkAddress(netip.MustParseAddr(addr), false)
		assert.Equal(t, want, err == nil, "%s: %v", addr, err)
	}
	for _, addr := range []string{"127.0.0.1", "::1"} {
		require.NoError(t, checkAddress(netip.MustParseAddr(addr), true))
	}
	require.Error(t, checkAddress(netip.MustParseAddr("169.254.169.254"), true))
}

func TestNew_RefusesBaseURLs(t *testing.T) {
	allow := []string{"api.example.com", "169.254.169.254", "metadata.example.com"}
	for base, want := range map[string]string{
		"":                                "the base URL is missing",
		"api.example.com":                 "invalid base URL: expected http:// or https:// and a host",
		"ftp://api.example.com":           "invalid base URL: expected http:// or https:// and a host",
		"https://":                        "invalid base URL: expected http:// or https:// and a host",
		"https://u:pw@api.example.com":    "the base URL must not hold a user or a password",
		"https://api.example.com/?a=b":    "the base URL must not have a query or a fragment",
		"https://other.example.com":       `host "other.example.com" is not allowed by the sidecar's settings`,
		"http://127.0.0.1:1":              `host "127.0.0.1:1" is not allowed by the sidecar's settings`,
		"http://169.254.169.254/latest":   `host "169.254.169.254" is not allowed`,
		"https://api.example.com:99999/x": "",
	} {
		_, err := New(connectors.Env{AllowHosts: allow}, Config{API: "CRM", BaseURL: base})
		if want == "" {
			continue
		}
		e := failure(t, err)
		assert.Equal(t, connectors.InvalidOptionValue, e.Class)
		assert.Equal(t, want, e.Message)
		assert.NotContains(t, e.Error()+e.Hint+e.Detail, "pw")
	}
	_, err := New(connectors.Env{}, Config{BaseURL: "https://api.example.com"})
	e := failure(t, err)
	assert.Equal(t, "allow_hosts is empty: no host is allowed.", e.Detail)
	assert.Equal(t, `The sidecar's administrator can add "api.example.com" to allow_hosts.`, e.Hint)
}

// A name that is allowed may still resolve to this machine: DNS is not ours.
func TestDial_ChecksTheAddressThatAnswered(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)

	c, err := dialGuarded(t.Context(), "tcp", "localhost:"+port)
	if err == nil { // a machine whose localhost is ::1 alone has no listener there
		_ = c.Close()
	}
	c, err = dialGuarded(t.Context(), "tcp", "127.0.0.1:"+port)
	require.NoError(t, err)
	_ = c.Close()

	resolver := net.DefaultResolver
	defer func() { net.DefaultResolver = resolver }()
	net.DefaultResolver = fakeDNS(t, netip.MustParseAddr("127.0.0.1"))
	_, err = dialGuarded(t.Context(), "tcp", "api.example.com:"+port)
	var addr *errAddress
	require.ErrorAs(t, err, &addr)
	assert.Equal(t, "127.0.0.1 is this machine, which allow_hosts does not name", addr.Error())

	cl, err := New(connectors.Env{AllowHosts: []string{"api.example.com"}}, Config{API: "CRM", BaseURL: "http://api.example.com:" + port})
	require.NoError(t, err)
	_, err = cl.Do(t.Context(), &Request{Path: "/"})
	e := failure(t, err)
	assert.Equal(t, connectors.InvalidOptionValue, e.Class)
	assert.Equal(t, `host "api.example.com:`+port+`" leads to an address that is not allowed`, e.Message)
}

// fakeDNS answers each question for an A record with addr.
func fakeDNS(t *testing.T, addr netip.Addr) *net.Resolver {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = pc.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			q := buf[:n]
			end := 12
			for q[end] != 0 {
				end += int(q[end]) + 1
			}
			end += 5
			isA := q[end-3] == 1
			resp := append([]byte{}, q[:end]...)
			resp[2], resp[3] = 0x81, 0x80
			resp[6], resp[7], resp[8], resp[9], resp[10], resp[11] = 0, 0, 0, 0, 0, 0
			if isA {
				resp[7] = 1
				a4 := addr.As4()
				resp = append(resp, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4)
				resp = append(resp, a4[:]...)
			}
			_, _ = pc.WriteTo(resp, from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
}
