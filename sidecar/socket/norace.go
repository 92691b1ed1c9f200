//go:build !race

package socket

func usual() calls { return unannounced() }
