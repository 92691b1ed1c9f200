package flight

// The spool: what a scan has brought so far, for readers of different paces.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// ErrBehind is what a reader gets that is so far behind the others that its
// rows are not kept any longer.
var ErrBehind = errors.New("flight: the reader fell too far behind the others of its scan")

// Limits of spools. Zero fields take the defaults.
type Limits struct {
	// Memory that one spool takes before it goes on in a file, in bytes; default
	// 8 MiB. All spools together take at most TotalMemory; default 256 MiB.
	Memory, TotalMemory int64
	// File is the size in bytes past which rows that all readers have are
	// forgotten, and nobody can join any more; default 1 GiB.
	File int64
	// Dir is where files are made, without a name; default os.TempDir().
	Dir string
	// Patience is how long the scan waits, past File, for its slowest reader
	// while there are others. Then that one gets ErrBehind. Default 30 s.
	Patience time.Duration
}

func (l *Limits) defaults() {
	if l.Memory <= 0 {
		l.Memory = 8 << 20
	}
	if l.TotalMemory <= 0 {
		l.TotalMemory = 256 << 20
	}
	if l.File <= 0 {
		l.File = 1 << 30
	}
	if l.Patience <= 0 {
		l.Patience = 30 * time.Second
	}
}

// Batch is n whole tuples. Nobody changes its bytes.
type Batch struct {
	Tuples []byte
	Rows   int
}

// entry is a batch in memory, or where it is in the file.
type entry struct {
	mem  []byte
	off  int64
	size int
	rows int
}

// spool is an append-only list of batches. While it is within its bounds it
// keeps them all, so that a reader may begin at any time; past them it slides:
// what all readers have is dropped, and the slowest sets the pace.
type spool struct {
	limits *Limits
	total  *atomic.Int64 // memory of all spools
	disk   *atomic.Uint64
	log    *slog.Logger

	mu      sync.Mutex
	entries []entry
	first   int // number of entries[0]
	memory  int64
	file    *os.File
	written int64
	sliding bool
	ended   bool
	err     error         // why it ended; nil: well
	changed chan struct{} // closed when any of the above changes
	readers map[*Reader]struct{}

	held chan struct{} // closed once the scan has waited for long
	hold sync.Once
}

func newSpool(limits *Limits, total *atomic.Int64, disk *atomic.Uint64, log *slog.Logger) *spool {
	return &spool{limits: limits, total: total, disk: disk, log: log,
		changed: make(chan struct{}), readers: map[*Reader]struct{}{}, held: make(chan struct{})}
}

// wake tells all who wait. mu is held.
func (s *spool) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// append adds a batch, whose bytes are copied. It waits only when the spool is
// past its bounds and a reader is behind. The error is ctx's.
func (s *spool) append(ctx context.Context, tuples []byte, rows int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var since time.Time
	for !s.put(tuples, rows) {
		if since.IsZero() {
			since = time.Now()
			late := time.AfterFunc(heldPatience, func() { s.hold.Do(func() { close(s.held) }) })
			defer late.Stop()
		}
		slowest := s.slowest()
		left, last := s.limits.Patience, slowest == nil || !slowest.spare && s.others() == 0
		if !last && slowest.spare {
			left = min(left, sparePatience)
		}
		if left -= time.Since(since); !last && left <= 0 {
			slowest.lost = true
			delete(s.readers, slowest)
			s.trim()
			s.wake()
			since = time.Time{}
			continue
		}
		if last {
			left = 0 // as long as it takes: it has the scan to itself
		}
		if err := s.wait(ctx, left); err != nil {
			return err
		}
	}
	s.wake()
	return nil
}

// sparePatience is Limits.Patience for readers that others do not wait for: long
// enough to ride out a hiccup.
const sparePatience = time.Second

// heldPatience is how long a scan may wait for its slowest reader before others
// are told that it does.
const heldPatience = time.Second

// others counts the readers that are not to be spared, but for one.
func (s *spool) others() int {
	n := -1
	for r := range s.readers {
		if !r.spare {
			n++
		}
	}
	return n
}

// wait lets mu go until something changes, or within, if above zero, is over.
func (s *spool) wait(ctx context.Context, within time.Duration) error {
	changed := s.changed
	s.mu.Unlock()
	defer s.mu.Lock()
	var late <-chan time.Time
	if within > 0 {
		t := time.NewTimer(within)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-changed:
	case <-late:
	case <-ctx.Done():
		return fmt.Errorf("waiting for a slow reader: %w", context.Cause(ctx))
	}
	return nil
}

// put stores a batch where there is room, or reports that there is none.
func (s *spool) put(tuples []byte, rows int) bool {
	n := int64(len(tuples))
	e := entry{size: len(tuples), rows: rows}
	switch {
	case s.memory+n <= s.limits.Memory && s.total.Load()+n <= s.limits.TotalMemory,
		// A batch that alone is too long, or no file to be had: one at a time.
		s.sliding && len(s.entries) == 0:
		e.mem = append(make([]byte, 0, len(tuples)), tuples...)
		s.memory += n
		s.total.Add(n)
	case s.sliding:
		return false
	case s.written+n > s.limits.File || !s.write(tuples):
		s.sliding = true
		s.trim()
		return s.put(tuples, rows)
	default:
		e.off = s.written - n
	}
	s.entries = append(s.entries, e)
	return true
}

// write appends to the file; false: it could not.
func (s *spool) write(b []byte) bool {
	err := s.open()
	if err == nil {
		_, err = s.file.WriteAt(b, s.written)
	}
	if err != nil {
		s.log.Warn("spooling a scan to a file", "directory", s.dir(), "error", err.Error())
		return false
	}
	s.written += int64(len(b))
	s.disk.Add(uint64(len(b)))
	return true
}

func (s *spool) dir() string {
	if s.limits.Dir != "" {
		return s.limits.Dir
	}
	return os.TempDir()
}

// open makes the file, which has no name from the beginning: it goes with the
// process.
func (s *spool) open() error {
	if s.file != nil {
		return nil
	}
	f, err := os.CreateTemp(s.dir(), "hallway-spool-")
	if err != nil {
		return fmt.Errorf("making a spool: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return fmt.Errorf("taking a spool's name: %w", err)
	}
	s.file = f
	return nil
}

// slowest is the reader that is furthest behind, one that can be spared first.
func (s *spool) slowest() *Reader {
	var at *Reader
	for r := range s.readers {
		if at == nil || r.next < at.next || r.next == at.next && r.spare {
			at = r
		}
	}
	return at
}

// trim forgets what all readers have, if the spool slides. Without readers
// nothing is forgotten: one may be about to come.
func (s *spool) trim() {
	if !s.sliding || len(s.readers) == 0 {
		return
	}
	for n := s.slowest().next; s.first < n && len(s.entries) > 0; s.first++ {
		freed := int64(len(s.entries[0].mem))
		s.memory -= freed
		s.total.Add(-freed)
		s.entries[0] = entry{}
		s.entries = s.entries[1:]
	}
}

// end says that no more comes. Readers get what there is, then err or io.EOF.
func (s *spool) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended, s.err = true, err
		s.wake()
	}
}

// free gives memory and file back. No reader may be left.
func (s *spool) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.Add(-s.memory)
	s.entries, s.memory = nil, 0
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
}

// Reader reads a flight from its beginning. Not safe for concurrent use.
type Reader struct {
	flight *Flight
	owner  any
	// spare: others do not wait for it.
	spare bool

	// Under spool.mu.
	next int // number of the entry that comes next
	lost bool

	buf []byte
}

// reader adds a reader at the beginning; nil: that is not there any more, or
// the scan has failed.
func (s *spool) reader(f *Flight, owner any, spare bool) *Reader {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sliding || s.err != nil {
		return nil
	}
	r := &Reader{flight: f, owner: owner, spare: spare}
	s.readers[r] = struct{}{}
	return r
}

// has reports whether owner reads.
func (s *spool) has(owner any) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.readers {
		if r.owner == owner && !r.spare {
			return true
		}
	}
	return false
}

// Next waits for the next batch, which is good until the following call. At the
// end it gives io.EOF, or the error that the scan ended with: rows that came
// before it are given first. ctx bounds the waiting.
func (r *Reader) Next(ctx context.Context) (Batch, error) {
	s := r.flight.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch at := r.next - s.first; {
		case r.lost:
			return Batch{}, ErrBehind
		case at < len(s.entries):
			e := s.entries[at]
			r.next++
			if s.sliding {
				s.trim()
				s.wake()
			}
			if e.mem != nil || e.size == 0 {
				return Batch{Tuples: e.mem, Rows: e.rows}, nil
			}
			return r.fromFile(s, e)
		case s.ended && s.err != nil:
			return Batch{}, s.err
		case s.ended:
			return Batch{}, io.EOF
		}
		if err := s.wait(ctx, 0); err != nil {
			return Batch{}, err
		}
	}
}

// fromFile reads without holding up the others. The file is there as long as a
// reader is.
func (r *Reader) fromFile(s *spool, e entry) (Batch, error) {
	file := s.file
	s.mu.Unlock()
	defer s.mu.Lock()
	if cap(r.buf) < e.size {
		r.buf = make([]byte, e.size)
	}
	if _, err := file.ReadAt(r.buf[:e.size], e.off); err != nil {
		return Batch{}, fmt.Errorf("reading a spool: %w", err)
	}
	return Batch{Tuples: r.buf[:e.size], Rows: e.rows}, nil
}

// Close leaves the flight, which ends if nobody else reads it.
func (r *Reader) Close() {
	s := r.flight.spool
	s.mu.Lock()
	delete(s.readers, r)
	s.trim()
	s.wake()
	s.mu.Unlock()
	r.flight.left(r)
}
