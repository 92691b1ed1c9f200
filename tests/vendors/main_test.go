// Package vendors has the servers of tests/fakes judged by those who know the
// APIs best: the vendors' own clients, as npm has them. Each script of node/ makes
// its checks with such a client against the server that its test has started, and
// the client must be content: with pages, searches, writes, batches, errors as it
// shows them, and what it does when it is told to wait.
package vendors
