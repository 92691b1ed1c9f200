// Calls of a long time, mostly a day, that an API counts for all who call it: it
// tells with its answers how many are used, and a reserve of them can be left alone.

package transport

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hallwaydb/hallway/connectors"
)

// Budget is where an API tells how many calls there are.
type Budget struct {
	Headers []BudgetHeader
	// Reserve is how many calls are left to others: once no more remain, calls are
	// refused here. Below 0: none is. With Percent it is a part of all.
	Reserve float64
	Percent bool
}

// BudgetHeader is a header, or one of the parts between its commas, in which groups
// are named used, remaining or max.
type BudgetHeader struct {
	Name string
	Form *regexp.Regexp
}

// BudgetForm makes the expression of a text with {used}, {remaining} or {max}.
func BudgetForm(text string) *regexp.Regexp {
	text = regexp.QuoteMeta(text)
	for _, name := range []string{"used", "remaining", "max"} {
		text = strings.Replace(text, `\{`+name+`\}`, `(?P<`+name+`>\d+)`, 1)
	}
	return regexp.MustCompile("^" + text + "$")
}

// budgetProbe is how often a call is let through although the reserve is reached: its
// answer tells whether there are more by now.
const budgetProbe = 5 * time.Minute

// budget is what was told.
type budget struct {
	rules *Budget // nil: nothing is

	mu        sync.Mutex
	known     bool
	remaining float64
	max       float64 // 0: not known
	probed    time.Time
}

// learn reads an answer's headers; changed: they say how many calls remain, of max
// in all (0: not said).
func (b *budget) learn(h http.Header, now time.Time) (remaining, most float64, told bool) {
	if b.rules == nil {
		return 0, 0, false
	}
	said := map[string]float64{}
	for _, rule := range b.rules.Headers {
		for _, line := range h.Values(rule.Name) {
			for part := range strings.SplitSeq(line, ",") {
				found := rule.Form.FindStringSubmatch(strings.TrimSpace(part))
				for i, name := range rule.Form.SubexpNames() {
					if name == "" || found == nil {
						continue
					}
					if n, err := strconv.ParseFloat(found[i], 64); err == nil {
						said[name] = n
					}
				}
			}
		}
	}
	remaining, told = said["remaining"]
	if used, ok := said["used"]; ok && !told && said["max"] > 0 {
		remaining, told = max(0, said["max"]-used), true
	}
	if !told {
		return 0, 0, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.known, b.remaining, b.max, b.probed = true, remaining, said["max"], now
	return remaining, b.max, true
}

// reserved is how many calls are left to others, with mu held.
func (b *budget) reserved() float64 {
	if b.rules.Percent {
		return max(0, b.rules.Reserve) * b.max / 100
	}
	return max(0, b.rules.Reserve)
}

// afford refuses calls that are more than remain besides the reserve; nil: they may
// be begun, or what remains was told too long ago.
func (b *budget) afford(api string, calls int, now time.Time) *connectors.Error {
	if b.rules == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	possible := max(0, math.Ceil(b.remaining-b.reserved()))
	if !b.known || float64(calls) <= possible || now.Sub(b.probed) >= budgetProbe {
		return nil
	}
	e := &connectors.Error{Class: connectors.RateLimited, API: api,
		Message: "the query needs more calls than remain of those that the API grants",
		Detail:  fmt.Sprintf("It needs %s more; %.0f%s remain.", callsText(calls), b.remaining, b.of()),
		Hint:    "After a day at most the API grants more. Until then ask for less, with a condition or a LIMIT."}
	if reserve := b.reserved(); reserve > 0 {
		e.Detail = fmt.Sprintf("It needs %s more; %.0f%s remain, of which the option api_reserve keeps %.0f.", callsText(calls), b.remaining, b.of(), reserve)
	}
	return e
}

// of says how many calls there are in all, if that is known, with mu held.
func (b *budget) of() string {
	if b.max > 0 {
		return fmt.Sprintf(" of %.0f", b.max)
	}
	return ""
}

// admit refuses a call that would eat into the reserve; nil: it may go.
func (b *budget) admit(api string, now time.Time) *connectors.Error {
	if b.rules == nil || b.rules.Reserve < 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	reserve := b.reserved()
	if !b.known || b.remaining > reserve {
		return nil
	}
	wait := b.probed.Add(budgetProbe).Sub(now)
	if wait <= 0 {
		b.probed = now
		return nil
	}
	return &connectors.Error{Class: connectors.RateLimited, API: api, RetryAfter: wait,
		Message: "the calls that the API grants are used up but for the reserve",
		Detail:  fmt.Sprintf("%.0f%s calls remain, and the option api_reserve keeps %.0f.", b.remaining, b.of(), reserve),
		Hint:    "After a day at most the API grants more. The server option api_reserve says how many are left to others."}
}
