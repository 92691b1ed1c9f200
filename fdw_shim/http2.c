/*-------------------------------------------------------------------------
 *
 * http2.c
 *		HTTP/2 sessions and their streams, over a non-blocking socket.
 *
 * Nothing here waits, checks for interrupts or throws: libnghttp2 calls back
 * into this file, and its state must not be left by a longjmp. Trouble is noted
 * in the session (broken, reason) or the stream (fault) for the callers, which
 * throw after libnghttp2 has returned. Memory, libnghttp2's own included, comes
 * from the session's context, so deleting that frees all of it on every path.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nghttp2/nghttp2.h>

#include "utils/memutils.h"

#include "wire.h"

#define OUT_SIZE	(64 * 1024)
#define IN_SIZE		(128 * 1024)

static void session_break(WireSession *session, const char *what, int err);
static bool session_refill(WireSession *session);
static void stream_credit(WireStream *stream, size_t len);

static void *mem_malloc(size_t size, void *cxt);
static void mem_free(void *ptr, void *cxt);
static void *mem_calloc(size_t nmemb, size_t size, void *cxt);
static void *mem_realloc(void *ptr, size_t size, void *cxt);

static int	on_header(nghttp2_session *h2, const nghttp2_frame *frame,
					  const uint8_t *name, size_t namelen,
					  const uint8_t *value, size_t valuelen,
					  uint8_t flags, void *user_data);
static int	on_data_chunk(nghttp2_session *h2, uint8_t flags, int32_t stream_id,
						  const uint8_t *data, size_t len, void *user_data);
static int	on_frame_recv(nghttp2_session *h2, const nghttp2_frame *frame, void *user_data);
static int	on_stream_close(nghttp2_session *h2, int32_t stream_id,
							uint32_t error_code, void *user_data);
static ssize_t read_body(nghttp2_session *h2, int32_t stream_id, uint8_t *buf,
						 size_t length, uint32_t *data_flags,
						 nghttp2_data_source *source, void *user_data);

/*
 * A session on a connected socket, with its preface and settings ready to be
 * written. Takes cxt over, but not the socket. NULL when out of memory.
 */
WireSession *
wire_session_create(MemoryContext cxt, int fd)
{
	WireSession *session;
	nghttp2_session_callbacks *callbacks = NULL;
	nghttp2_option *option = NULL;
	nghttp2_mem *mem;
	int			rc = NGHTTP2_ERR_NOMEM;
	const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WIRE_STREAM_WINDOW},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, WIRE_MAX_STATUS_TEXT},
	};

	session = wire_alloc(cxt, sizeof(WireSession));
	mem = wire_alloc(cxt, sizeof(nghttp2_mem));
	if (session == NULL || mem == NULL)
		return NULL;
	memset(session, 0, sizeof(WireSession));
	session->cxt = cxt;
	session->fd = fd;
	dlist_init(&session->streams);
	session->out_capacity = OUT_SIZE;
	session->out = wire_alloc(cxt, OUT_SIZE);
	session->in = wire_alloc(cxt, IN_SIZE);
	if (session->out == NULL || session->in == NULL)
		return NULL;

	mem->mem_user_data = cxt;
	mem->malloc = mem_malloc;
	mem->free = mem_free;
	mem->calloc = mem_calloc;
	mem->realloc = mem_realloc;

	if (nghttp2_session_callbacks_new(&callbacks) == 0 &&
		nghttp2_option_new(&option) == 0)
	{
		nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
		nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
		nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
		nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);

		/*
		 * The connection's window is given back on receipt, a stream's when
		 * its reader has taken the message: a paused cursor then holds back
		 * its own stream and no other.
		 */
		nghttp2_option_set_no_auto_window_update(option, 1);
		rc = nghttp2_session_client_new3(&session->h2, callbacks, session, option, mem);
	}
	nghttp2_option_del(option);
	nghttp2_session_callbacks_del(callbacks);
	if (rc != 0)
		return NULL;

	if (nghttp2_submit_settings(session->h2, NGHTTP2_FLAG_NONE,
								settings, lengthof(settings)) != 0 ||
		nghttp2_session_set_local_window_size(session->h2, NGHTTP2_FLAG_NONE, 0,
											  WIRE_SESSION_WINDOW) != 0)
	{
		wire_session_free_h2(session);
		return NULL;
	}
	return session;
}

/* What must be done before the session's context may be deleted. */
void
wire_session_free_h2(WireSession *session)
{
	session->broken = true;
	if (session->h2 != NULL)
		nghttp2_session_del(session->h2);
	session->h2 = NULL;
}

/* Whether a new stream may be opened here. */
bool
wire_session_usable(WireSession *session)
{
	return !session->broken && !session->goaway &&
		nghttp2_session_check_request_allowed(session->h2);
}

/* Notes why nothing will pass any more. Its streams see it as their end. */
static void
session_break(WireSession *session, const char *what, int err)
{
	dlist_iter	iter;

	if (session->broken)
		return;
	session->broken = true;
	if (err != 0)
		snprintf(session->reason, sizeof(session->reason), "%s: %s", what, strerror(err));
	else
		snprintf(session->reason, sizeof(session->reason), "%s", what);
	dlist_foreach(iter, &session->streams)
	{
		WireStream *stream = dlist_container(WireStream, node, iter.cur);

		if (stream->closed)
			continue;
		stream->closed = true;
		/* Headers come one by one: half a status is none. */
		memset(&stream->status, 0, sizeof(stream->status));
		stream->status.grpc_status = -1;
	}
}

/* Whether bytes are left that the socket did not take. */
bool
wire_wants_write(WireSession *session)
{
	return !session->broken && session->out_start < session->out_end;
}

/*
 * Fills the output buffer from libnghttp2; several frames leave in one system
 * call that way. False if nothing came or the session broke.
 */
static bool
session_refill(WireSession *session)
{
	session->out_start = session->out_end = 0;
	while (session->out_end + 16 * 1024 + 9 <= session->out_capacity)
	{
		const uint8_t *data;
		ssize_t		n = nghttp2_session_mem_send(session->h2, &data);

		if (n < 0)
		{
			session_break(session, nghttp2_strerror((int) n), 0);
			return false;
		}
		if (n == 0)
			break;
		if ((size_t) n > session->out_capacity - session->out_end)
		{
			/* Frames of ours are at most 16 KiB; not seen in practice. */
			size_t		capacity = session->out_end + n;
			uint8	   *out = wire_alloc(session->cxt, capacity);

			if (out == NULL)
			{
				session_break(session, "Out of memory", 0);
				return false;
			}
			memcpy(out, session->out, session->out_end);
			pfree(session->out);
			session->out = out;
			session->out_capacity = capacity;
		}
		memcpy(session->out + session->out_end, data, n);
		session->out_end += n;
		session->serialized += n;
	}
	return session->out_end > 0;
}

/*
 * Writes what can be written without blocking. False if the session is broken;
 * wire_wants_write() tells whether something is left.
 */
bool
wire_write(WireSession *session)
{
	if (session->broken)
		return false;
	for (;;)
	{
		ssize_t		n;

		if (session->out_start == session->out_end && !session_refill(session))
			return !session->broken;
		n = send(session->fd, session->out + session->out_start,
				 session->out_end - session->out_start, MSG_NOSIGNAL);
		if (n < 0)
		{
			if (errno == EINTR)
				continue;
			if (errno == EAGAIN || errno == EWOULDBLOCK)
				return true;

			/*
			 * The peer may have said why before it closed: a GOAWAY tells
			 * which streams it never looked at.
			 */
			{
				int			err = errno;

				session->dry = false;
				while (!session->broken && wire_read(session))
					;
				session_break(session, "Could not send", err);
			}
			return false;
		}
		session->out_start += n;
		session->written += n;
	}
}

/*
 * Reads once, without blocking, and hands what came to libnghttp2. False if
 * nothing came; then session->broken tells why. Once a read has taken all that
 * was there, the socket is not asked again until somebody clears session->dry:
 * whoever waits for it, or wants to know what has come without waiting.
 */
bool
wire_read(WireSession *session)
{
	ssize_t		n;
	ssize_t		used;

	if (session->broken || session->dry)
		return false;

	/* After a violation of HTTP/2 libnghttp2 says GOAWAY and listens no more. */
	if (!nghttp2_session_want_read(session->h2))
	{
		session_break(session, session->goaway ? "The sidecar is closing the connection"
					  : "What answers there does not speak the sidecar's protocol", 0);
		return false;
	}
	do
		n = recv(session->fd, session->in, IN_SIZE, 0);
	while (n < 0 && errno == EINTR);
	session->dry = n < IN_SIZE;
	if (n < 0)
	{
		if (errno != EAGAIN && errno != EWOULDBLOCK)
			session_break(session, "Could not receive", errno);
		return false;
	}
	if (n == 0)
	{
		session_break(session, "The sidecar closed the connection", 0);
		return false;
	}
	used = nghttp2_session_mem_recv(session->h2, session->in, n);
	if (used < 0)
	{
		session_break(session, nghttp2_strerror((int) used), 0);
		return false;
	}

	return true;
}

/*
 * Starts a call. The body (framed, in the session's context) is the stream's
 * from here, also on failure. timeout_ms of 0 means none. NULL when out of
 * memory or the session is not usable.
 */
WireStream *
wire_stream_open(WireSession *session, const char *method, int64 timeout_ms,
				 uint8 *body, size_t body_len, bool detached)
{
	WireStream *stream;
	nghttp2_data_provider provider = {.read_callback = read_body};
	char		path[128];
	char		timeout[32];
	size_t		nheaders = 0;
	nghttp2_nv	headers[8];

#define HEADER(n, v) \
	(headers[nheaders++] = (nghttp2_nv) {(uint8_t *) (n), (uint8_t *) (v), \
		strlen(n), strlen(v), NGHTTP2_NV_FLAG_NONE})

	stream = wire_alloc(session->cxt, sizeof(WireStream));
	if (stream == NULL)
	{
		pfree(body);
		return NULL;
	}
	memset(stream, 0, sizeof(WireStream));
	stream->session = session;
	stream->detached = detached;
	stream->body = body;
	stream->body_len = body_len;
	stream->inbox.cxt = session->cxt;
	stream->status.grpc_status = -1;

	snprintf(path, sizeof(path), "/hallway.v1.Bridge/%s", method);
	HEADER(":method", "POST");
	HEADER(":scheme", "http");
	HEADER(":path", path);
	HEADER(":authority", "localhost");
	HEADER("content-type", "application/grpc");
	HEADER("te", "trailers");
	HEADER("user-agent", "hallway-shim/" HALLWAY_VERSION);
	if (timeout_ms > 0)
	{
		wire_format_timeout(timeout_ms, timeout, sizeof(timeout));
		HEADER("grpc-timeout", timeout);
	}
#undef HEADER

	stream->id = nghttp2_submit_request(session->h2, NULL, headers, nheaders,
										&provider, stream);
	if (stream->id < 0)
	{
		pfree(body);
		pfree(stream);
		return NULL;
	}
	dlist_push_tail(&session->streams, &stream->node);
	if (!detached)
		session->nstreams++;
	return stream;
}

/*
 * Ends a stream, cancelling it if it runs; the peer hears of it at once if the
 * socket takes the bytes, else with the next ones.
 */
void
wire_stream_free(WireStream *stream)
{
	WireSession *session = stream->session;

	dlist_delete(&stream->node);
	if (!stream->detached)
		session->nstreams--;
	if (!stream->closed && !session->broken)
	{
		/* Callbacks that still come find no stream, and drop their data. */
		(void) nghttp2_session_set_stream_user_data(session->h2, stream->id, NULL);
		(void) nghttp2_submit_rst_stream(session->h2, NGHTTP2_FLAG_NONE,
										 stream->id, NGHTTP2_CANCEL);
		(void) wire_write(session);
	}
	wire_inbox_clear(&stream->inbox);
	if (stream->body)
		pfree(stream->body);
	if (stream->status.message)
		pfree(stream->status.message);
	if (stream->status.details)
		pfree(stream->status.details);
	pfree(stream);
}

/* The oldest complete message, the caller's until released; or NULL. */
WireMessage *
wire_stream_take(WireStream *stream)
{
	return wire_inbox_take(&stream->inbox);
}

/* The reader is done with a message: the peer may send as much again. */
void
wire_stream_release(WireStream *stream, WireMessage *message)
{
	size_t		len = (size_t) message->size + 5;

	wire_inbox_release(&stream->inbox, message);

	/* Whoever waits for a message that is under way must not hold it back. */
	if (stream->inbox.head == NULL)
		len = stream->uncredited;
	stream_credit(stream, len);
}

/*
 * Whether the peer cannot have acted on the request: it said so, or the
 * request's end never reached the socket.
 */
bool
wire_stream_unprocessed(const WireStream *stream)
{
	if (stream->answered)
		return false;
	return stream->close_code == NGHTTP2_REFUSED_STREAM ||
		!stream->body_ended || stream->session->written <= stream->body_end;
}

/*
 * Whether a failed call may be made again, unseen: its connection was lost, or
 * it was refused, and nothing had been received for it.
 */
bool
wire_stream_retryable(const WireStream *stream, bool is_write)
{
	if (stream->answered || stream->fault != WIRE_FAULT_NONE)
		return false;
	if (!stream->session->broken && stream->close_code != NGHTTP2_REFUSED_STREAM)
		return false;
	return !is_write || wire_stream_unprocessed(stream);
}

static void
stream_credit(WireStream *stream, size_t len)
{
	len = Min(len, stream->uncredited);
	stream->uncredited -= len;
	if (len > 0 && !stream->closed && !stream->session->broken)
		(void) nghttp2_session_consume_stream(stream->session->h2, stream->id, len);
}

/* ---- callbacks of libnghttp2 ------------------------------------------- */

static int
on_header(nghttp2_session *h2, const nghttp2_frame *frame,
		  const uint8_t *name, size_t namelen,
		  const uint8_t *value, size_t valuelen,
		  uint8_t flags, void *user_data)
{
	WireStream *stream = nghttp2_session_get_stream_user_data(h2, frame->hd.stream_id);

	if (frame->hd.type != NGHTTP2_HEADERS || stream == NULL)
		return 0;
	stream->answered = true;
	if (!wire_status_header(&stream->status, stream->session->cxt,
							(const char *) name, namelen,
							(const char *) value, valuelen))
		stream->fault = WIRE_FAULT_STATUS_TEXT;
	return 0;
}

static int
on_data_chunk(nghttp2_session *h2, uint8_t flags, int32_t stream_id,
			  const uint8_t *data, size_t len, void *user_data)
{
	WireStream *stream = nghttp2_session_get_stream_user_data(h2, stream_id);

	(void) nghttp2_session_consume_connection(h2, len);
	if (stream == NULL || stream->fault != WIRE_FAULT_NONE)
		return 0;
	stream->answered = true;
	stream->uncredited += len;
	stream->fault = wire_inbox_feed(&stream->inbox, data, len);

	/*
	 * As long as no message is complete, credit at once: else one that is
	 * larger than the window would never arrive.
	 */
	if (stream->inbox.head == NULL)
		stream_credit(stream, stream->uncredited);
	return 0;
}

static int
on_frame_recv(nghttp2_session *h2, const nghttp2_frame *frame, void *user_data)
{
	WireSession *session = user_data;

	if (frame->hd.type == NGHTTP2_GOAWAY)
		session->goaway = true;
	return 0;
}

static int
on_stream_close(nghttp2_session *h2, int32_t stream_id, uint32_t error_code,
				void *user_data)
{
	WireStream *stream = nghttp2_session_get_stream_user_data(h2, stream_id);

	if (stream == NULL)
		return 0;
	(void) nghttp2_session_set_stream_user_data(h2, stream_id, NULL);
	stream->closed = true;
	stream->close_code = error_code;
	if (stream->fault == WIRE_FAULT_NONE &&
		(stream->inbox.partial != NULL || stream->inbox.prefix_len > 0))
		stream->fault = WIRE_FAULT_TRUNCATED;
	if (stream->detached)
		wire_stream_free(stream);
	return 0;
}

static ssize_t
read_body(nghttp2_session *h2, int32_t stream_id, uint8_t *buf, size_t length,
		  uint32_t *data_flags, nghttp2_data_source *source, void *user_data)
{
	WireSession *session = user_data;
	WireStream *stream = nghttp2_session_get_stream_user_data(h2, stream_id);
	size_t		n;

	if (stream == NULL)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;	/* cancelled */
	n = Min(length, stream->body_len - stream->body_sent);
	memcpy(buf, stream->body + stream->body_sent, n);
	stream->body_sent += n;
	if (stream->body_sent == stream->body_len)
	{
		*data_flags |= NGHTTP2_DATA_FLAG_EOF;
		stream->body_ended = true;
		stream->body_end = session->serialized;
		pfree(stream->body);
		stream->body = NULL;
	}
	return n;
}

/* ---- memory: from a context, NULL instead of an error -------------------- */

/* Each piece carries its size, for mem_realloc. */
#define MEM_HEADER	MAXALIGN(sizeof(size_t))

void *
wire_alloc(MemoryContext cxt, size_t size)
{
	if (!AllocHugeSizeIsValid(size))
		return NULL;
	return MemoryContextAllocExtended(cxt, size, MCXT_ALLOC_NO_OOM | MCXT_ALLOC_HUGE);
}

static void *
mem_malloc(size_t size, void *cxt)
{
	char	   *chunk;

	if (size > MaxAllocHugeSize - MEM_HEADER)
		return NULL;
	chunk = wire_alloc(cxt, size + MEM_HEADER);
	if (chunk == NULL)
		return NULL;
	*(size_t *) chunk = size;
	return chunk + MEM_HEADER;
}

static void
mem_free(void *ptr, void *cxt)
{
	if (ptr != NULL)
		pfree((char *) ptr - MEM_HEADER);
}

static void *
mem_calloc(size_t nmemb, size_t size, void *cxt)
{
	void	   *ptr;

	if (size > 0 && nmemb > MaxAllocHugeSize / size)
		return NULL;
	ptr = mem_malloc(nmemb * size, cxt);
	if (ptr != NULL)
		memset(ptr, 0, nmemb * size);
	return ptr;
}

static void *
mem_realloc(void *ptr, size_t size, void *cxt)
{
	void	   *moved;

	if (ptr == NULL)
		return mem_malloc(size, cxt);
	moved = mem_malloc(size, cxt);
	if (moved == NULL)
		return NULL;
	memcpy(moved, ptr, Min(size, *(size_t *) ((char *) ptr - MEM_HEADER)));
	mem_free(ptr, cxt);
	return moved;
}
