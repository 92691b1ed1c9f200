package journal

// Kill ends a manager as SIGKILL would: what it knows and has not written is lost.
func (m *Manager) Kill() {
	m.mu.Lock()
	m.stop()
	m.mu.Unlock()
	m.wait.Wait()
}
