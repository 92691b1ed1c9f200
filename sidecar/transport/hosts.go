// Where a client may connect: the allow list for host names, checked before a
// request is made, and the guard on addresses, checked when a connection is
// dialled, after DNS has answered.

package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/socket"
)

// CheckHostPattern reports why pattern cannot stand in allow_hosts: it is a
// host name, an address, host:port, [v6]:port, or *.domain.
func CheckHostPattern(pattern string) error {
	host, port := splitHostPort(pattern)
	name := strings.TrimPrefix(host, "*.")
	switch {
	case name == "" || strings.ContainsAny(pattern, "/@?#\\ \t") || strings.Contains(name, "*"):
		return fmt.Errorf("%q: expected a host, host:port or *.domain", pattern)
	case strings.HasPrefix(host, "*.") && !strings.Contains(name, "."):
		return fmt.Errorf("%q: a whole top-level domain cannot be allowed", pattern)
	case strings.Contains(name, ":"):
		if _, err := netip.ParseAddr(name); err != nil {
			return fmt.Errorf("%q: expected a host, host:port or *.domain", pattern)
		}
	}
	if port == "" && host+":" != pattern {
		return nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q: the port must be a number from 1 to 65535", pattern)
	}
	return nil
}

// HostAllowed reports whether a URL's host is in the allow list. A pattern
// without a port allows every port; *.domain allows the names below domain,
// not domain itself.
func HostAllowed(allow []string, u *url.URL) bool {
	host := canonicalHost(u.Hostname())
	port := portOf(u)
	for _, pattern := range allow {
		ph, pp := splitHostPort(pattern)
		if pp != "" && pp != port {
			continue
		}
		ph = canonicalHost(ph)
		if domain, wild := strings.CutPrefix(ph, "*."); wild {
			if _, err := netip.ParseAddr(host); err != nil && strings.HasSuffix(host, "."+domain) {
				return true
			}
		} else if ph == host {
			return true
		}
	}
	return false
}

// splitHostPort takes a port off; the brackets of an IPv6 address too.
func splitHostPort(s string) (host, port string) {
	if h, p, err := net.SplitHostPort(s); err == nil {
		return h, p
	}
	return strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"), ""
}

func canonicalHost(h string) string {
	return strings.ToLower(strings.TrimSuffix(h, "."))
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}

// never holds addresses that are refused whatever allow_hosts says: link-local
// ranges, and where cloud machines answer with their credentials.
var never = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("fd00:ec2::254/128"),  // AWS
	netip.MustParsePrefix("fd20:ce::254/128"),   // Google Cloud
	netip.MustParsePrefix("100.100.100.200/32"), // Alibaba Cloud
	netip.MustParsePrefix("168.63.129.16/32"),   // Azure
	netip.MustParsePrefix("192.0.0.192/32"),     // Oracle Cloud
	netip.MustParsePrefix("0.0.0.0/8"),          // this host
	netip.MustParsePrefix("224.0.0.0/4"),        // multicast
	netip.MustParsePrefix("ff00::/8"),           // multicast
	netip.MustParsePrefix("255.255.255.255/32"), // broadcast
	netip.MustParsePrefix("::/128"),             // this host
}

// embedded are IPv6 prefixes whose last 32 bits are an IPv4 address.
var embedded = []netip.Prefix{
	netip.MustParsePrefix("64:ff9b::/96"), // NAT64
	netip.MustParsePrefix("::/96"),        // IPv4-compatible
}

// checkAddress refuses an address that no API lives at. loopback tells whether
// the name that led to it was allowed as one of this machine.
func checkAddress(addr netip.Addr, loopback bool) error {
	addr = addr.Unmap().WithZone("")
	if addr.IsLoopback() {
		if loopback {
			return nil
		}
		return fmt.Errorf("%s is this machine, which allow_hosts does not name", addr)
	}
	for _, p := range never {
		if p.Contains(addr) {
			return fmt.Errorf("%s is a link-local, metadata or reserved address and never allowed", addr)
		}
	}
	for _, p := range embedded {
		if p.Contains(addr) {
			b := addr.As16()
			return checkAddress(netip.AddrFrom4([4]byte(b[12:])), loopback)
		}
	}
	return nil
}

// isLoopbackName reports whether a host means this machine by its name alone.
func isLoopbackName(host string) bool {
	host = canonicalHost(host)
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// errAddress marks an address that the guard refused.
type errAddress struct{ err error }

func (e *errAddress) Error() string { return e.err.Error() }

// dialGuarded dials host:port only at addresses that checkAddress lets pass.
// The check is in Control, on the address that is connected to, so that a
// second DNS answer cannot differ from the one checked.
func dialGuarded(ctx context.Context, network, hostport string) (net.Conn, error) {
	host, _ := splitHostPort(hostport)
	loopback := isLoopbackName(host)
	d := net.Dialer{
		Timeout:   10 * time.Second,
		KeepAlive: 30 * time.Second,
		Control: func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil {
				return &errAddress{fmt.Errorf("parsing the address %q: %w", address, err)}
			}
			if err := checkAddress(ap.Addr(), loopback); err != nil {
				return &errAddress{err}
			}
			return nil
		},
	}
	conn, err := d.DialContext(ctx, network, hostport)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return socket.Unwatched(conn), nil
}

// newTransport makes the pool of connections of one client. There is no bound
// on connections a host: a paused cursor holds one for as long as it likes.
func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:            dialGuarded,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    32,
		IdleConnTimeout:        60 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		ReadBufferSize:         32 << 10,
	}
}

// parseBase checks a base URL and its host.
func parseBase(api, base string, allow []string) (*url.URL, error) {
	refuse := func(msg, hint string) error {
		return &connectors.Error{Class: connectors.InvalidOptionValue, API: api, Message: msg, Hint: hint}
	}
	if base == "" {
		return nil, refuse("the base URL is missing", "")
	}
	u, err := url.Parse(base)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, refuse(fmt.Sprintf("invalid base URL: %v", err), `Write it like "https://api.example.com/v1".`)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.Opaque != "":
		return nil, refuse("invalid base URL: expected http:// or https:// and a host", `Write it like "https://api.example.com/v1".`)
	case u.User != nil:
		return nil, refuse("the base URL must not hold a user or a password", "Credentials belong into the user mapping.")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, refuse("the base URL must not have a query or a fragment", "")
	}
	if err := checkHost(api, u, allow); err != nil {
		return nil, err
	}
	return u, nil
}

func checkHost(api string, u *url.URL, allow []string) error {
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
		if err := checkAddress(addr, true); err != nil {
			return &connectors.Error{Class: connectors.InvalidOptionValue, API: api,
				Message: fmt.Sprintf("host %q is not allowed", u.Host), Detail: err.Error() + "."}
		}
	}
	if HostAllowed(allow, u) {
		return nil
	}
	e := &connectors.Error{Class: connectors.InvalidOptionValue, API: api,
		Message: fmt.Sprintf("host %q is not allowed by the sidecar's settings", u.Host),
		Hint:    fmt.Sprintf("The sidecar's administrator can add %q to allow_hosts.", u.Host)}
	if len(allow) == 0 {
		e.Detail = "allow_hosts is empty: no host is allowed."
	}
	return e
}

// CheckHost resolves a host of the allow list and reports what would keep a
// client from connecting to it. What begins with *. is not resolved.
func CheckHost(ctx context.Context, pattern string) error {
	host, _ := splitHostPort(pattern)
	if strings.HasPrefix(host, "*.") {
		return nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return fmt.Errorf("%s cannot be found: %s", host, reason(err))
	}
	for _, a := range addrs {
		if err := checkAddress(a, isLoopbackName(host)); err != nil {
			return fmt.Errorf("%s leads to an address that is not allowed: %w", host, err)
		}
	}
	return nil
}
