// Command gendocs writes the manifest's JSON schema and the connector's page.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/hallwaydb/hallway/connectors/rest"
)

func main() {
	schema := flag.String("schema", "", "file of the JSON schema")
	docs := flag.String("docs", "", "file of the page")
	intro := flag.String("intro", "intro.md", "file of the page's own text")
	flag.Parse()
	if err := run(*schema, *docs, *intro); err != nil {
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
}

func run(schema, docs, intro string) error {
	text, err := os.ReadFile(intro)
	if err != nil {
		return fmt.Errorf("reading the page's text: %w", err)
	}
	if err := os.WriteFile(schema, rest.Schema(), 0o644); err != nil {
		return fmt.Errorf("writing the schema: %w", err)
	}
	if err := os.WriteFile(docs, rest.Docs(string(text)), 0o644); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}
