// The settings as a commented file: what packages install and docs show.

package config

import (
	"fmt"
	"strings"
)

// Example is a settings file that says every default and changes none.
func Example() string {
	var b strings.Builder
	b.WriteString(`# Settings of the Hallway sidecar: ` + DefaultFile + `
#
# Each can also be set in the environment (allow_hosts: HALLWAY_ALLOW_HOSTS) or
# on the command line (--allow-hosts); the later wins. Lists have commas there.
# Lines that begin with #name: show the default. "hallway check" tells what is
# wrong with a file like this one. It is read at the start of the sidecar.
`)
	s := Default()
	for _, f := range Fields() {
		b.WriteByte('\n')
		for _, line := range wrap(f.Help, 76) {
			b.WriteString("# " + line + "\n")
		}
		switch {
		case f.List:
			fmt.Fprintf(&b, "#%s: [%s]\n", f.Name, strings.Join(f.get(s), ", "))
		case f.Value(s) == "":
			fmt.Fprintf(&b, "#%s: \"\"\n", f.Name)
		default:
			fmt.Fprintf(&b, "#%s: %s\n", f.Name, f.Value(s))
		}
	}
	return b.String()
}

// wrap breaks text into lines of at most width bytes, at spaces.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
