// Where databases are, as the setting "databases" says it.

package config

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Database is one of the setting's.
type Database struct {
	// Directory of its Unix socket, absolute.
	Directory string
	Port      uint16
	Name      string
}

// Where Debian's PostgreSQL listens.
const (
	defaultSocketDirectory = "/var/run/postgresql"
	defaultPort            = 5432
)

// ParseDatabase reads a database's name, or words as libpq has them: host (a
// socket's directory), port and dbname.
func ParseDatabase(text string) (Database, error) {
	d := Database{Directory: defaultSocketDirectory, Port: defaultPort}
	if !strings.Contains(text, "=") {
		if text == "" || strings.ContainsAny(text, " \t/") {
			return d, fmt.Errorf(`expected a database's name or "host=/directory port=5432 dbname=name", got %q`, text)
		}
		d.Name = text
		return d, nil
	}
	for _, word := range strings.Fields(text) {
		k, v, _ := strings.Cut(word, "=")
		switch k {
		case "host":
			if !filepath.IsAbs(v) {
				return d, fmt.Errorf("expected the absolute directory of a Unix socket as host, got %q", v)
			}
			d.Directory = v
		case "port":
			n, err := strconv.ParseUint(v, 10, 16)
			if err != nil || n == 0 {
				return d, fmt.Errorf("expected a port from 1 to 65535, got %q", v)
			}
			d.Port = uint16(n)
		case "dbname":
			d.Name = v
		default:
			return d, fmt.Errorf("expected host, port and dbname, got %q", k)
		}
	}
	if d.Name == "" {
		return d, fmt.Errorf("the dbname is missing in %q", text)
	}
	return d, nil
}

func checkDatabase(v string) error {
	_, err := ParseDatabase(v)
	return err
}

// checkAddress is for what others than this machine may reach.
func checkAddress(v string) error {
	if v == "" {
		return nil
	}
	i := strings.LastIndexByte(v, ':')
	if i < 0 {
		return fmt.Errorf("expected host:port or :port, got %q", v)
	}
	if n, err := strconv.ParseUint(v[i+1:], 10, 16); err != nil || n == 0 {
		return fmt.Errorf("expected a port from 1 to 65535, got %q", v[i+1:])
	}
	return nil
}
