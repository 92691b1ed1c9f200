package connectors

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/hallwaydb/hallway/sidecar/rows"
)

func TestAfterWrite_NeverInvitesToWriteAgain(t *testing.T) {
	const done = "the API has done the write, but its answer could not be used: "
	const look = "Look into the API before you write the row again."
	limited := &Error{Class: RateLimited, API: "A", Message: "slow down", Detail: "GET /x.", Hint: "Run it again.", HTTPStatus: 429, RetryAfter: time.Second}
	unknown := &Error{Class: UnknownOutcome, Message: "no answer"}
	for name, c := range map[string]struct {
		err  error
		want Error
	}{
		"of the API": {fmt.Errorf("reading: %w", limited), Error{API: "A", Message: done + "slow down", Detail: "GET /x.", Hint: look, HTTPStatus: 429}},
		"a value, with what to do": {&Error{Class: InvalidValue, Message: "m", Hint: "Make it text.", Column: "c"},
			Error{Message: done + "m", Hint: look + " Make it text.", Column: "c"}},
		"a builder's": {&rows.ConversionError{Column: -1, Reason: "too long"}, Error{Message: done + "too long", Hint: look}},
		"a plain one": {errors.New("token=hush"), Error{Message: done + "the sidecar's log has the cause", Hint: look}},
	} {
		got := AfterWrite(c.err)
		assert.ErrorIs(t, got, c.err, name)
		c.want.Class, c.want.Err = UnknownOutcome, got.Err
		assert.Equal(t, &c.want, got, name)
	}
	assert.Same(t, unknown, AfterWrite(unknown))
	assert.Equal(t, time.Second, limited.RetryAfter, "the cause itself is left alone")
}
