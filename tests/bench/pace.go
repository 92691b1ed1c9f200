// How fast the machine itself is at what the figures in milliseconds rest on: that
// one process wakes another on an idle processor. A virtual machine's takes two or
// three times as long in some hours as in others, and each figure with it.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"
)

const (
	paces = 200
	// paceIdle is about how long an API leaves those who wait for it asleep here.
	paceIdle = 300 * time.Microsecond
)

// pace measures a byte's way to cat and back, both of them asleep before.
func (s *session) pace(ctx context.Context, keep func(string, float64)) (err error) {
	cat := exec.CommandContext(ctx, "cat")
	in, err := cat.StdinPipe()
	if err != nil {
		return fmt.Errorf("starting cat: %w", err)
	}
	out, err := cat.StdoutPipe()
	if err != nil {
		return fmt.Errorf("starting cat: %w", err)
	}
	if err := cat.Start(); err != nil {
		return fmt.Errorf("starting cat: %w", err)
	}
	defer func() { err = errors.Join(err, in.Close(), cat.Wait()) }()
	one := []byte{'.'}
	took := make([]float64, paces)
	for i := range took {
		time.Sleep(paceIdle)
		start := time.Now()
		if _, err := in.Write(one); err != nil {
			return fmt.Errorf("sending a byte to cat: %w", err)
		}
		if _, err := io.ReadFull(out, one); err != nil {
			return fmt.Errorf("reading a byte from cat: %w", err)
		}
		took[i] = ms(time.Since(start))
	}
	keep("pace", middle(took))
	return nil
}
