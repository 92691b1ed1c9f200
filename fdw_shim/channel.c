/*-------------------------------------------------------------------------
 *
 * channel.c
 *		The backend's connections to sidecars: connecting, shaking hands,
 *		waiting for the socket.
 *
 * A channel is an address; a session (http2.c) is a connection to it. A session
 * that takes no new calls, after a GOAWAY, stays until its last stream has
 * ended, while new calls go to the channel's next session.
 *
 * Every wait is for the latch too, so that cancel, timeouts and termination are
 * obeyed in any state of the sidecar.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "wire.h"

/* A backlog that is full is looked at again after so many milliseconds. */
#define BACKLOG_RETRY_MS	10

/*
 * How long the end of a process waits at most until its last word was heard:
 * pg_terminate_backend() works at once, also with a sidecar that hangs.
 */
#define LAST_WORD_MS		50

struct HallwayChannel
{
	HallwayChannel *next;
	char	   *address;
	uint64		generation;
	TimestampTz looked;			/* statement that found the session alive */
	char		sidecar_version[64];
	char		instance[64];
	WireSession *session;		/* for new calls; NULL: not connected */
	uint64		committed;		/* transaction to be told of; 0: none */
};

/* This process's channels, and all sessions, those that only drain included. */
static HallwayChannel *channels = NULL;
static dlist_head sessions = DLIST_STATIC_INIT(sessions);
static bool exit_registered = false;

/* Of all channels together, so that none has another's. */
static uint64 last_generation = 0;

static HallwayChannel *channel_find(const char *address);
static void tell_committed(HallwayChannel *channel);
static void channel_connect(HallwayChannel *channel);
static const char *channel_try(HallwayChannel *channel, TimestampTz deadline);
static bool handshake(HallwayChannel *channel, WireSession *session,
					  TimestampTz deadline, Hallway__V1__Error **error);
static int	open_socket(HallwayChannel *channel, TimestampTz deadline);
static void connect_socket(HallwayChannel *channel, int fd, TimestampTz deadline);
pg_noreturn static void connect_failed(HallwayChannel *channel, const char *what, int err);
static WireSession *session_start(int fd);
static void session_close(WireSession *session);
static void say_last_word(HallwayChannel *channel);
static void close_all(int code, Datum arg);

/* ---- the interface ------------------------------------------------------ */

HallwayChannel *
hallway_channel(const char *address)
{
	HallwayChannel *channel = channel_find(address);
	TimestampTz statement = GetCurrentStatementStartTimestamp();

	/* A statement asks for it several times; each of its calls looks again. */
	if (channel->session == NULL || !wire_session_usable(channel->session) ||
		channel->looked != statement)
	{
		(void) hallway_channel_session(channel);
		channel->looked = statement;
	}
	return channel;
}

uint64
hallway_channel_standing(const char *address)
{
	const HallwayChannel *channel = channel_find(address);

	if (channel->session == NULL || !wire_session_usable(channel->session))
		return 0;
	return channel->generation;
}

uint64
hallway_channel_generation(const HallwayChannel *channel)
{
	return channel->generation;
}

const char *
hallway_channel_sidecar_version(const HallwayChannel *channel)
{
	return channel->sidecar_version;
}

const char *
hallway_channel_instance(const HallwayChannel *channel)
{
	return channel->instance;
}

void
hallway_send(HallwayChannel *channel, const char *method, const ProtobufCMessage *request)
{
	WireSession *session = channel->session;
	uint8	   *body;
	size_t		len;

	if (session == NULL || !wire_session_usable(session))
		return;
	body = wire_frame_message(session->cxt, request, &len);
	if (body != NULL && wire_stream_open(session, method, 0, body, len, true) != NULL)
		(void) wire_write(session);
}

void
hallway_channel_tell_later(HallwayChannel *channel, uint64 xid)
{
	tell_committed(channel);
	channel->committed = xid;
}

uint64
hallway_channel_take_committed(HallwayChannel *channel)
{
	uint64		xid = channel->committed;

	channel->committed = 0;
	return xid;
}

/* Tells of the transaction that no Modify has told of. */
static void
tell_committed(HallwayChannel *channel)
{
	Hallway__V1__EndTransactionRequest request = HALLWAY__V1__END_TRANSACTION_REQUEST__INIT;
	Hallway__V1__Transaction transaction = HALLWAY__V1__TRANSACTION__INIT;

	if (channel->committed == 0)
		return;
	transaction.xid = transaction.subxid = hallway_channel_take_committed(channel);
	request.transaction = &transaction;
	request.end = HALLWAY__V1__TRANSACTION_END__TRANSACTION_END_COMMIT;
	hallway_send(channel, "EndTransaction", &request.base);
}

/* ---- sessions ------------------------------------------------------------ */

static HallwayChannel *
channel_find(const char *address)
{
	HallwayChannel *channel;

	for (channel = channels; channel != NULL; channel = channel->next)
		if (strcmp(channel->address, address) == 0)
			return channel;
	channel = MemoryContextAllocZero(TopMemoryContext, sizeof(HallwayChannel));
	channel->address = MemoryContextStrdup(TopMemoryContext, address);
	channel->next = channels;
	channels = channel;
	return channel;
}

/*
 * A session that takes a new call: first what arrived while the backend was
 * idle is looked at (a GOAWAY, a closed connection), so that a sidecar which
 * was restarted meanwhile goes unnoticed.
 */
WireSession *
hallway_channel_session(HallwayChannel *channel)
{
	WireSession *session = channel->session;

	if (session != NULL)
	{
		session->dry = false;
		while (wire_read(session))
			CHECK_FOR_INTERRUPTS();
		(void) wire_write(session);
		if (wire_session_usable(session))
			return session;
		channel->session = NULL;
		hallway_channel_release(session);
	}
	channel_connect(channel);
	return channel->session;
}

/* Closes a session that takes no new calls, once its last stream has gone. */
void
hallway_channel_release(WireSession *session)
{
	if (session->nstreams > 0)
		return;
	for (HallwayChannel *channel = channels; channel != NULL; channel = channel->next)
		if (channel->session == session)
			return;
	session_close(session);
}

/* Connects and shakes hands, or throws 08001. */
static void
channel_connect(HallwayChannel *channel)
{
	TimestampTz deadline = 0;

	if (hallway_connect_timeout > 0)
		deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), hallway_connect_timeout);

	/* A listener that was just dying accepts, and then resets or refuses: ask again. */
	if (channel_try(channel, deadline) != NULL)
	{
		const char *reason = channel_try(channel, deadline);

		if (reason != NULL)
			connect_failed(channel, reason, 0);
	}
}

/* NULL, or why the connection ended, or took no call, before the handshake was answered. */
static const char *
channel_try(HallwayChannel *channel, TimestampTz deadline)
{
	WireSession *session = session_start(open_socket(channel, deadline));
	Hallway__V1__Error *error = NULL;
	const char *reason = NULL;
	volatile bool done = false;

	PG_TRY();
	{
		done = handshake(channel, session, deadline, &error);
		if (error != NULL)
			hallway_throw(error, NULL);
	}
	PG_CATCH();
	{
		session_close(session);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (done)
	{
		channel->session = session;
		channel->generation = ++last_generation;
	}
	else
	{
		reason = pstrdup(session->broken ? session->reason : "It takes no new connections");
		session_close(session);
	}
	return reason;
}

/*
 * The first call of a session. False with no error: the connection was lost, or
 * takes no call any more, before any answer.
 */
static bool
handshake(HallwayChannel *channel, WireSession *session, TimestampTz deadline,
		  Hallway__V1__Error **error)
{
	Hallway__V1__HandshakeRequest request;
	Hallway__V1__HandshakeResponse *response;
	WireStream *stream;
	uint8	   *body;
	size_t		len;

	hallway_handshake_request(&request);
	body = wire_frame_message(session->cxt, &request.base, &len);
	stream = body == NULL ? NULL :
		wire_stream_open(session, "Handshake", hallway_connect_timeout, body, len, false);
	if (stream == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory while connecting to the Hallway sidecar")));

	/* If this throws, the session goes, and the stream with it. */
	if (!hallway_call_wait(stream, deadline))
		connect_failed(channel, psprintf("It accepted the connection, but did not answer within %d ms",
										 hallway_connect_timeout), 0);
	if (wire_stream_retryable(stream, false))
		return false;
	response = (Hallway__V1__HandshakeResponse *)
		hallway_call_answer(stream, false, &hallway__v1__handshake_response__descriptor,
							error);
	wire_stream_free(stream);
	if (response == NULL)
		return false;
	hallway_handshake_check(response);
	strlcpy(channel->instance, response->instance_id, sizeof(channel->instance));
	strlcpy(channel->sidecar_version, response->sidecar_version,
			sizeof(channel->sidecar_version));
	return true;
}

/* A connected non-blocking socket, counted as PostgreSQL wants it. */
static int
open_socket(HallwayChannel *channel, TimestampTz deadline)
{
	int			fd;

	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
				 errmsg("could not connect to the Hallway sidecar at \"%s\"", channel->address),
				 errdetail("There are too many open files on the local server."),
				 errhint("Raise the server's max_files_per_process and/or \"ulimit -n\" limits.")));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
	{
		int			err = errno;

		ReleaseExternalFD();
		connect_failed(channel, "socket", err);
	}
	PG_TRY();
	{
		connect_socket(channel, fd, deadline);
	}
	PG_CATCH();
	{
		close(fd);
		ReleaseExternalFD();
		PG_RE_THROW();
	}
	PG_END_TRY();
	return fd;
}

/* Another kind of address (TCP with TLS) would be a case of this function. */
static void
connect_socket(HallwayChannel *channel, int fd, TimestampTz deadline)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	const char *path;

	if (strncmp(channel->address, "unix:", 5) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("invalid address of the Hallway sidecar: \"%s\"", channel->address),
				 errhint("An address is \"unix:\" and the path of a socket, such as \"unix:/run/hallway/hallway.sock\".")));
	path = channel->address + 5;
	if (strlen(path) >= sizeof(name.sun_path))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("address of the Hallway sidecar is too long: \"%s\"", channel->address),
				 errdetail("A socket's path has at most %zu bytes.", sizeof(name.sun_path) - 1)));
	strcpy(name.sun_path, path);

	while (connect(fd, (struct sockaddr *) &name, sizeof(name)) < 0)
	{
		if (errno == EISCONN)
			break;
		if (errno != EAGAIN && errno != EINPROGRESS && errno != EALREADY && errno != EINTR)
			connect_failed(channel, path, errno);
		if (deadline != 0 && GetCurrentTimestamp() >= deadline)
			connect_failed(channel, path, ETIMEDOUT);

		/* EAGAIN: the backlog is full, and nothing tells when it is not. */
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 BACKLOG_RETRY_MS, hallway_wait_event());
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
connect_failed(HallwayChannel *channel, const char *what, int err)
{
	const char *hint = "Start the sidecar with \"systemctl start hallway\" (or \"hallway serve\"), "
		"or correct the server option \"address\" or the setting hallway.address.";

	if (err == EACCES || err == EPERM)
		hint = "The operating system user that runs PostgreSQL must be a member of the sidecar's group: "
			"\"usermod -aG hallway postgres\", then restart PostgreSQL.";
	else if (err == ETIMEDOUT || err == 0)
		hint = "The sidecar may be hanging or being restarted: look at its log, or restart it "
			"with \"systemctl restart hallway\". Or does the address belong to another server?";
	ereport(ERROR,
			(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
			 errmsg("could not connect to the Hallway sidecar at \"%s\"", channel->address),
			 err != 0 ? errdetail("%s: %s.", what, strerror(err)) : errdetail("%s.", what),
			 errhint("%s", hint)));
}

/* Takes the socket over, also on failure. */
static WireSession *
session_start(int fd)
{
	WireSession *session = NULL;
	MemoryContext cxt = NULL;
	WaitEventSet *waitset = NULL;

	PG_TRY();
	{
		if (!exit_registered)
		{
			on_proc_exit(close_all, (Datum) 0);
			exit_registered = true;
		}
		cxt = AllocSetContextCreate(TopMemoryContext, "Hallway session",
									ALLOCSET_DEFAULT_SIZES);
		waitset = hallway_create_wait_set(TopMemoryContext, 3);
		AddWaitEventToSet(waitset, WL_SOCKET_READABLE, fd, NULL, NULL);
		AddWaitEventToSet(waitset, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(waitset, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
		session = wire_session_create(cxt, fd);
		if (session == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory while connecting to the Hallway sidecar")));
	}
	PG_CATCH();
	{
		if (waitset != NULL)
			FreeWaitEventSet(waitset);
		close(fd);
		ReleaseExternalFD();
		if (cxt != NULL)
			MemoryContextDelete(cxt);
		PG_RE_THROW();
	}
	PG_END_TRY();
	session->waitset = waitset;
	session->waitset_events = WL_SOCKET_READABLE;
	dlist_push_tail(&sessions, &session->node);
	return session;
}

static void
session_close(WireSession *session)
{
	dlist_delete(&session->node);
	wire_session_free_h2(session);
	FreeWaitEventSet(session->waitset);
	close(session->fd);
	ReleaseExternalFD();
	MemoryContextDelete(session->cxt);
}

/* A call whose connection ends before its answer is as none, to the sidecar. */
static void
say_last_word(HallwayChannel *channel)
{
	WireSession *session = channel->session;
	TimestampTz give_up;

	if (channel->committed == 0 || session == NULL)
		return;
	give_up = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LAST_WORD_MS);
	tell_committed(channel);
	while (!session->broken && !dlist_is_empty(&session->streams))
	{
		struct pollfd socket = {.fd = session->fd,.events = POLLIN};
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), give_up);

		if (left <= 0 || poll(&socket, 1, (int) left) <= 0)
			return;
		session->dry = false;
		(void) wire_read(session);
	}
}

/* The sidecar sees the connection end before the process has gone. */
static void
close_all(int code, Datum arg)
{
	dlist_iter	iter;

	for (HallwayChannel *channel = channels; channel != NULL; channel = channel->next)
		say_last_word(channel);
	dlist_foreach(iter, &sessions)
	{
		WireSession *session = dlist_container(WireSession, node, iter.cur);

		session->broken = true;
		(void) shutdown(session->fd, SHUT_RDWR);
	}
}

/* ---- waiting ---------------------------------------------------------------- */

/*
 * Waits until the socket has something, or takes something if bytes are left to
 * be written; false if the deadline (0: none) came first.
 */
bool
hallway_channel_wait(WireSession *session, TimestampTz deadline)
{
	int			events = WL_SOCKET_READABLE;
	long		timeout = -1;
	WaitEvent	event;

	CHECK_FOR_INTERRUPTS();
	if (wire_wants_write(session))
		events |= WL_SOCKET_WRITEABLE;
	if (events != session->waitset_events)
	{
		ModifyWaitEvent(session->waitset, 0, events, NULL);
		session->waitset_events = events;
	}
	if (deadline != 0)
	{
		timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
		if (timeout <= 0)
			return false;
	}
	if (WaitEventSetWait(session->waitset, timeout, &event, 1, hallway_wait_event()) > 0 &&
		(event.events & WL_LATCH_SET))
		ResetLatch(MyLatch);
	session->dry = false;
	CHECK_FOR_INTERRUPTS();
	return true;
}

