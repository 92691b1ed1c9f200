package connectors

// Where an option stands.
type Where uint8

// The places of options.
const (
	OnServer Where = iota + 1
	OnUserMapping
	OnTable
	OnColumn
	OnImport
)

// OptionSpec describes one option, for validation and for the generated docs.
type OptionSpec struct {
	Name  string
	Where Where
	// Required: leaving it out is an error.
	Required bool
	// Secret: never shown; may be given as a reference to the secret store.
	Secret bool
	// Default as a user would write it; empty: none.
	Default string
	// Help is one sentence that gives units and bounds.
	Help string
}
