// Where the next page is, and whether there is one.

package rest

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// position is where a page after the first is asked for.
type position struct {
	// param is the page number, offset or cursor.
	param string
	// url is a link that the API gave.
	url string
	// after is the last key (seek), as a literal.
	after string
	// terms are further conditions; byKey: the page is sorted by the key (range).
	terms []string
	byKey bool
	// size of the page to ask for; 0: as the first.
	size int
}

// pager walks through the pages of one scan.
type pager struct {
	p        *Paging
	size     int // records asked for; 0: not said
	n        int // pages seen
	number   int // page: of the last one
	offset   int
	watch    loopWatch
	firstKey string
}

func newPager(p *Paging, size int) *pager {
	return &pager{p: p, size: size, number: p.Start}
}

// pageFacts is what the pager needs to know of a page.
type pageFacts struct {
	rows     int
	cursor   string
	more     bool
	moreSaid bool
	// echo is the page size the API says it used; 0: it did not say.
	echo int
	// firstKey and lastKey of its records; empty: no key.
	firstKey, lastKey string
	// after is lastKey as a literal; ok false: it cannot be written.
	after   string
	afterOK bool
	header  http.Header
	// link resolves a link against the page's own URL.
	link func(string) (string, error)
}

var errTooManyPages = errors.New("there are more pages than paging.max_pages of the manifest")

// next tells where the page after one with these facts is; nil: it was the
// last.
func (g *pager) next(f *pageFacts) (*position, error) {
	if err := g.count(); err != nil {
		return nil, err
	}
	short := g.short(f)
	switch g.p.Style {
	case "page":
		if short {
			return nil, nil
		}
		g.number++
		return &position{param: itoa(g.number)}, g.sameRows(f)
	case "offset":
		if short {
			return nil, nil
		}
		g.offset += f.rows
		if f.rows == 0 {
			return nil, errors.New("an empty page says that there are more")
		}
		return &position{param: itoa(g.offset)}, g.sameRows(f)
	case "cursor":
		return g.cursor(f, short)
	case "link":
		link := f.cursor
		if g.p.Cursor == "" {
			link = nextLink(f.header)
		}
		if link == "" || (f.moreSaid && !f.more) {
			return nil, nil
		}
		link, err := f.link(link)
		if err != nil {
			return nil, err
		}
		return &position{url: link}, g.watch.seen(link)
	case "seek":
		if short {
			return nil, nil
		}
		if !f.afterOK {
			return nil, fmt.Errorf("the key %q cannot stand in a filter", f.lastKey)
		}
		return &position{after: f.after}, g.watch.seen(f.lastKey)
	}
	if f.moreSaid && f.more {
		return nil, errors.New("it says that there are more records, but the manifest has no paging")
	}
	return nil, nil
}

// count a page that has come.
func (g *pager) count() error {
	if g.n++; g.n >= g.p.MaxPages {
		return fmt.Errorf("%w: %d", errTooManyPages, g.p.MaxPages)
	}
	return nil
}

// short tells whether a page is the last, as far as its records and what it says of
// more tell.
func (g *pager) short(f *pageFacts) bool {
	size := g.size
	if f.echo > 0 && (size == 0 || f.echo < size) {
		size = f.echo
	}
	switch {
	case g.p.Style == "seek" && g.p.Cursor != "":
		return f.rows == 0 || f.cursor == ""
	case f.moreSaid:
		return !f.more
	}
	return f.rows == 0 || (size > 0 && f.rows < size)
}

func (g *pager) cursor(f *pageFacts, short bool) (*position, error) {
	cursor := f.cursor
	if g.p.Cursor == "{key}" {
		if short {
			return nil, nil
		}
		if cursor = f.lastKey; cursor == "" {
			return nil, errors.New("a record without its key cannot lead to the next page")
		}
	}
	if cursor == "" || (f.moreSaid && !f.more) {
		return nil, nil
	}
	return &position{param: cursor}, g.watch.seen(cursor)
}

// sameRows notices an API that ignores the page number: it would go on for
// ever.
func (g *pager) sameRows(f *pageFacts) error {
	before := g.firstKey
	g.firstKey = f.firstKey
	if before != "" && before == f.firstKey {
		return fmt.Errorf("page %d begins with the same record as the one before: the API does not obey %q", g.n, g.p.Param)
	}
	return nil
}

// loopWatch finds a sequence that repeats itself, of any period, with the
// memory of one value (Brent's algorithm).
type loopWatch struct {
	saved string
	n     int
	limit int
}

func (w *loopWatch) seen(cursor string) error {
	if w.limit > 0 && cursor == w.saved {
		return fmt.Errorf("the cursor %q came twice: pages go round in a circle", shortText(cursor))
	}
	if w.n++; w.n >= w.limit {
		w.saved, w.n = cursor, 0
		w.limit = max(1, 2*w.limit)
	}
	return nil
}

func shortText(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}

// nextLink is the URL with rel=next of a Link header (RFC 8288).
func nextLink(h http.Header) string {
	for _, line := range h.Values("Link") {
		for line != "" {
			_, rest, ok := strings.Cut(line, "<")
			if !ok {
				break
			}
			link, rest, ok := strings.Cut(rest, ">")
			if !ok {
				break
			}
			params := rest
			// The parameters go up to a comma that is followed by "<".
			line = ""
			if i := strings.Index(rest, ",<"); i >= 0 {
				params, line = rest[:i], rest[i+1:]
			} else if i := strings.Index(rest, ", <"); i >= 0 {
				params, line = rest[:i], rest[i+1:]
			}
			for part := range strings.SplitSeq(params, ";") {
				name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
				if !strings.EqualFold(strings.TrimSpace(name), "rel") {
					continue
				}
				for rel := range strings.FieldsSeq(strings.Trim(strings.TrimSpace(value), `"`)) {
					if strings.EqualFold(rel, "next") {
						return link
					}
				}
			}
		}
	}
	return ""
}
