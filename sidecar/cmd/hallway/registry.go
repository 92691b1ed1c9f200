// The connectors of this sidecar. This is the one place that names them.

package main

import (
	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/airtable"
	"github.com/hallwaydb/hallway/connectors/hubspot"
	"github.com/hallwaydb/hallway/connectors/rest"
	"github.com/hallwaydb/hallway/connectors/salesforce"
	"github.com/hallwaydb/hallway/connectors/stripe"
	"github.com/hallwaydb/hallway/connectors/synthetic"
)

func registry() *connectors.Registry {
	return connectors.NewRegistry(
		airtable.New(),
		rest.New(),
		hubspot.New(),
		salesforce.New(),
		stripe.New(),
		synthetic.New(),
	)
}
