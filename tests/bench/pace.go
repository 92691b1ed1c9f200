// How fast the machine itself is at what the figures in milliseconds rest on: that
// one process wakes another on an idle processor. A virtual machine's takes two or
// three times as long in some hours as in others, and each figure with it.

package main

import (
	"context"
	"errors"
	"fmt"
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
	cat, err := startProcess(exec.CommandContext(ctx, "cat"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cat.close()) }()
	took := make([]float64, paces)
	for i := range took {
		time.Sleep(paceIdle)
		start := time.Now()
		if _, err := cat.in.Write([]byte{'.'}); err != nil {
			return fmt.Errorf("sending a byte to cat: %w", err)
		}
		if _, err := cat.out.ReadByte(); err != nil {
			return fmt.Errorf("reading a byte from cat: %w", err)
		}
		took[i] = ms(time.Since(start))
	}
	keep("pace", middle(took))
	return nil
}
