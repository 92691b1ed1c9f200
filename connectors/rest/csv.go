// Pages of CSV, as records with the same places for values that JSON has.

package rest

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// cellKind is what a cell of CSV becomes.
type cellKind uint8

const (
	cellText cellKind = iota
	cellBare          // a number, true or false, if it is one
	cellJSON
)

func cellKindOf(f *Field) cellKind {
	switch {
	case f.List || f.Type == "json":
		return cellJSON
	case f.Type == "number" || f.Type == "integer" || f.Type == "boolean":
		return cellBare
	}
	return cellText
}

// returnMark stands for a carriage return while CSV is read: the library takes it
// from line breaks, also from those in texts. No UTF-8 has this byte.
const returnMark = 0xff

// readCSV takes a page of CSV apart, as read does with JSON. head are the names that
// earlier pages began with, nil for the first one; the page's own are the answer. An
// empty cell is no value. page is changed.
func (r *pageReader) readCSV(page []byte, head []string, kinds []cellKind) ([]string, error) {
	r.spans, r.rows, r.outer = r.spans[:0], 0, [envelopeSlots]span{}
	r.s = scanner{page: r.cells[:0]}
	page = bytes.TrimPrefix(page, []byte("\ufeff"))
	if end := bytes.IndexByte(page, '\n'); end < 1 || page[end-1] != '\r' {
		for i := 0; ; i++ {
			n := bytes.IndexByte(page[i:], '\r')
			if n < 0 {
				break
			}
			i += n
			page[i] = returnMark
		}
	}
	in := csv.NewReader(bytes.NewReader(page))
	in.ReuseRecord = true
	first, err := in.Read()
	if errors.Is(err, io.EOF) {
		return head, nil
	}
	if err != nil {
		return head, badCSV(err)
	}
	line := first
	if head == nil {
		head = slices.Clone(first)
	}
	if slices.Equal(line, head) {
		line = nil // names, and no record
	}
	slots := r.slotsOf(head)
	for {
		if line == nil {
			if line, err = in.Read(); errors.Is(err, io.EOF) {
				return head, nil
			} else if err != nil {
				return head, badCSV(err)
			}
		}
		switch {
		case len(line) != len(head):
			return head, &csvError{fmt.Sprintf("CSV with a line of %d values under one of %d names", len(line), len(head))}
		case r.rows == 0 && r.lost(slots):
			// Without records there may be a sentence in place of the names.
			return head, &csvError{"CSV without all fields that were asked for"}
		}
		r.line(line, slots, kinds)
		line = nil
		if r.rows >= maxRowsHeld && r.full != nil {
			if err := r.full(); err != nil {
				return head, err
			}
			r.spans, r.rows, r.s.page = r.spans[:0], 0, r.s.page[:0]
		}
	}
}

// csvError is CSV that is not what it should be.
type csvError struct{ what string }

func (e *csvError) Error() string { return e.what }

func badCSV(err error) error { return &csvError{"invalid CSV: " + err.Error()} }

// slotsOf are the slots of the values under names; -1: not wanted.
func (r *pageReader) slotsOf(head []string) []int {
	slots := make([]int, len(head))
	for i, name := range head {
		t := r.record
		for _, part := range splitPath(name) {
			if t = t.kids[part]; t == nil {
				break
			}
		}
		if slots[i] = -1; t != nil {
			slots[i] = t.slot
		}
	}
	return slots
}

// lost tells whether a slot is under no name.
func (r *pageReader) lost(slots []int) bool {
	for slot := range r.width {
		if !slices.Contains(slots, slot) {
			return true
		}
	}
	return false
}

// line reads one record.
func (r *pageReader) line(cells []string, slots []int, kinds []cellKind) {
	n := len(r.spans)
	for range r.width {
		r.spans = append(r.spans, span{})
	}
	r.rows++
	for i, cell := range cells {
		slot := slots[i]
		if slot < 0 || cell == "" {
			continue
		}
		start := len(r.s.page)
		escaped := false
		r.s.page, escaped = appendCell(r.s.page, cell, kinds[slot])
		end := uint32(len(r.s.page))
		if escaped {
			end |= escapedBit
		}
		r.spans[n+slot] = span{uint32(start), end}
	}
	r.cells = r.s.page
}

// appendCell writes a cell as JSON.
func appendCell(dst []byte, cell string, kind cellKind) (_ []byte, escaped bool) {
	if strings.IndexByte(cell, returnMark) >= 0 {
		cell = strings.ReplaceAll(cell, string([]byte{returnMark}), "\r")
	}
	switch {
	case kind == cellBare && (cell == "true" || cell == "false" || isNumber(cell)), kind == cellJSON && json.Valid([]byte(cell)):
		return append(dst, cell...), false
	}
	start := len(dst)
	dst = appendString(dst, cell)
	return dst, bytes.IndexByte(dst[start:], '\\') >= 0
}

func isNumber(s string) bool {
	for i := range len(s) {
		if !numeric[s[i]] {
			return false
		}
	}
	return s[0] == '-' || s[0]-'0' <= 9
}
