/* SPDX-License-Identifier: MIT */
/*
 * sandbox.c - puts the broker and its looker into their sandboxes.
 *
 * Knows no system call but those that the C library makes of itself; which ones a file needs
 * stands in that file (sandbox_calls.h).
 */
#include "sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "log.h"
#include "sandbox_calls.h"
#include "sys.h"

/* What the C library and jemalloc do of themselves: the beginning of a thread that was just made,
 * waiting for a thread or a lock, time where the vDSO has none, giving memory back, an abort (which
 * signals are sent to whom is looked at in filter_signals()), the end. Nothing is mapped that could
 * be run. */
SANDBOX_BROKER(CALL(clock_gettime), CALL(clock_nanosleep), CALL(exit), CALL(exit_group),
	CALL(futex), CALL(getpid), CALL(getrandom), CALL(gettid), CALL(kill), CALL(madvise),
	CALL(mmap, {2, PROT_EXEC, 0}, {3, MAP_ANONYMOUS, MAP_ANONYMOUS}), CALL(munmap),
	CALL(restart_syscall), CALL(rseq), CALL(rt_sigprocmask), CALL(rt_sigreturn),
	CALL(sched_yield), CALL(set_robust_list), CALL(tgkill));
SANDBOX_LOOKER(CALL(exit), CALL(exit_group), CALL(futex), CALL(getpid), CALL(gettid), CALL(kill),
	CALL(restart_syscall), CALL(rt_sigprocmask), CALL(rt_sigreturn), CALL(tgkill));

extern const struct sandbox_call *const __start_famez_calls_broker[]; /* the linker's */
extern const struct sandbox_call *const __stop_famez_calls_broker[];
extern const struct sandbox_call *const __start_famez_calls_looker[];
extern const struct sandbox_call *const __stop_famez_calls_looker[];

/* Names for last words: of numbers below this, which are all that there are. */
#define NAMES      512u
#define NAME_BYTES 24u

/* ---- the filters ------------------------------------------------------------------------ */

static int add_call(scmp_filter_ctx filter, const struct sandbox_call *call)
{
	struct scmp_arg_cmp compared[sizeof(call->arguments) / sizeof(*call->arguments)];
	int number = seccomp_syscall_resolve_name(call->name);
	unsigned count = 0;
	int err;

	if (number == __NR_SCMP_ERROR)
		return -ENOSYS;
	while (count < sizeof(compared) / sizeof(*compared) && call->arguments[count].mask) {
		const struct sandbox_argument *a = &call->arguments[count];

		compared[count++] = SCMP_CMP64(a->nth, SCMP_CMP_MASKED_EQ, a->mask, a->value);
	}
	err = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, count, compared);
	/* Several files need it. */
	return err == -EEXIST ? 0 : err;
}

/* Into memory of our own; libseccomp writes it to a descriptor. */
static int export(scmp_filter_ctx filter, struct sock_fprog *program)
{
	int fd = sys_memfd("famez-filter", MFD_CLOEXEC);
	struct stat st;
	int err;

	if (fd < 0)
		return fd;
	err = seccomp_export_bpf(filter, fd);
	if (!err)
		err = sys_fstat(fd, &st);
	if (err)
		goto undo_fd;
	program->filter = sys_calloc(1, (size_t)st.st_size);
	program->len = (unsigned short)((size_t)st.st_size / sizeof(*program->filter));
	if (!program->filter)
		err = -ENOMEM;
	else if (pread(fd, program->filter, (size_t)st.st_size, 0) != st.st_size)
		err = -EIO;

undo_fd:
	(void)close(fd);
	return err;
}

static int compile(const struct sandbox_call *const *list, const struct sandbox_call *const *end,
	struct sock_fprog *program, struct why *why)
{
	/* Not carried out, and a signal with the call's number (on_refused()). Calls of another
	 * architecture end the process at once. */
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
	int err = 0;

	if (!filter)
		return why_fail(why, -ENOMEM, "--sandbox: no memory for a filter");
	err = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	for (; list < end && !err; list++) {
		for (const struct sandbox_call *call = *list; call->name && !err; call++) {
			err = add_call(filter, call);
			if (err)
				(void)why_fail(why, err, "--sandbox: %s can't be filtered: %s",
					call->name, strerror(-err));
		}
	}
	if (!err) {
		err = export(filter, program);
		if (err)
			(void)why_fail(why, err, "--sandbox: the filter: %s", strerror(-err));
	}
	seccomp_release(filter);
	return err;
}

/* A broker that was stopped can't look anything up. Without memory it says numbers. */
static void find_names(struct sandbox *s)
{
	s->names = sys_calloc(NAMES, NAME_BYTES);
	for (unsigned number = 0; s->names && number < NAMES; number++) {
		char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, (int)number);

		if (name)
			(void)snprintf(
				s->names + (size_t)number * NAME_BYTES, NAME_BYTES, "%s", name);
		free(name);
	}
}

/* Landlock and seccomp answer what they know without being given anything. */
static void find_kernel(struct sandbox *s)
{
	static const uint32_t action = SECCOMP_RET_TRAP;
	long landlock =
		syscall(__NR_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	s->landlock = landlock > 0 ? (int)landlock : 0;
	s->seccomp = syscall(__NR_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
	if (!s->seccomp)
		s->missing = "this kernel filters no system calls (CONFIG_SECCOMP_FILTER)";
	else if (!s->landlock)
		s->missing = "this kernel has no Landlock, or was started without it (lsm=)";
}

int sandbox_compile(struct sandbox *s, enum sandbox_mode mode, const char *without, struct why *why)
{
	int err;

	*s = (struct sandbox){.mode = mode, .missing = without};
	if (mode == SANDBOX_OFF) {
		s->missing = "--sandbox off";
		return 0;
	}
	if (!without)
		find_kernel(s);
	if (mode == SANDBOX_REQUIRED && s->missing)
		return why_fail(why, -EOPNOTSUPP, "--sandbox required: %s", s->missing);
	if (!s->seccomp)
		return 0;
	err = compile(__start_famez_calls_broker, __stop_famez_calls_broker, &s->broker, why);
	if (!err)
		err = compile(
			__start_famez_calls_looker, __stop_famez_calls_looker, &s->looker, why);
	if (err) {
		sandbox_destroy(s);
		return err;
	}
	find_names(s);
	return 0;
}

void sandbox_destroy(struct sandbox *s)
{
	free(s->broker.filter);
	free(s->looker.filter);
	free(s->names);
	*s = (struct sandbox){.missing = s->missing};
}

bool sandbox_on(const struct sandbox *s)
{
	return s->seccomp;
}

/* ---- capabilities and Landlock ---------------------------------------------------------- */

#define BIT(capability) (UINT64_C(1) << (capability))

/* Either gives leave to have more descriptors in flight than the limit (Linux net/core/scm.c). */
#define IN_FLIGHT (BIT(CAP_SYS_RESOURCE) | BIT(CAP_SYS_ADMIN))

/* Of what we have, keep only @kept: bits of capability numbers. */
static int keep_capabilities(uint64_t kept)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(__NR_capget, &head, data) != 0)
		return -errno;
	if (data[0].effective & BIT(CAP_SYS_RESOURCE))
		kept &= ~BIT(CAP_SYS_ADMIN);
	/* The bounding set goes while we may still change it; it ends with EINVAL. */
	for (int c = 0;
		data[0].effective & (1u << CAP_SETPCAP) && c < 64 && prctl(PR_CAPBSET_READ, c) >= 0;
		c++)
		if (!(kept >> c & 1) && prctl(PR_CAPBSET_DROP, c, 0, 0, 0) != 0)
			return -errno;
	for (unsigned half = 0; half < 2; half++) {
		uint32_t mask = (uint32_t)(kept >> 32 * half);

		data[half].permitted &= mask;
		data[half].effective &= mask;
		data[half].inheritable = 0;
	}
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return syscall(__NR_capset, &head, data) == 0 ? 0 : -errno;
}

/* As in the kernel's <linux/landlock.h>, which may be newer than the one we are built with:
 * everything that a version can forbid, and no exception. */
struct ruleset {
	uint64_t fs, net, scoped;
};

static int leave_file_system(int version)
{
	struct ruleset all = {
		.fs = (UINT64_C(1) << 13) - 1, /* version 1 */
		.net = version >= 4 ? 3 : 0,   /* TCP: bind, connect */
		.scoped = version >= 6 ? 1 : 0 /* abstract sockets; signals are filtered */
	};
	size_t bytes = version >= 6 ? sizeof(all) : version >= 4 ? 16 : 8;
	int fd, err;

	if (version >= 2)
		all.fs |= UINT64_C(1) << 13; /* linking elsewhere */
	if (version >= 3)
		all.fs |= UINT64_C(1) << 14; /* truncating */
	if (version >= 5)
		all.fs |= UINT64_C(1) << 15; /* ioctls of devices */
	fd = (int)syscall(__NR_landlock_create_ruleset, &all, bytes, 0);
	if (fd < 0)
		return -errno;
	err = syscall(__NR_landlock_restrict_self, fd, 0) == 0 ? 0 : -errno;
	(void)close(fd);
	return err;
}

int sandbox_shed(const struct sandbox *s, struct why *why)
{
	int err;

	if (!sandbox_on(s))
		return 0;
	err = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : -errno;
	if (err)
		return why_fail(why, err, "--sandbox: no_new_privs: %s", strerror(-err));
	/* Newer kernels count rings as locked memory, and each worker makes its own later on. */
	err = keep_capabilities(IN_FLIGHT | BIT(CAP_IPC_LOCK));
	if (err)
		return why_fail(why, err, "--sandbox: capabilities: %s", strerror(-err));
	if (s->landlock) {
		err = leave_file_system(s->landlock);
		if (err)
			return why_fail(why, err, "--sandbox: Landlock: %s", strerror(-err));
	}
	return 0;
}

/* ---- the filter ------------------------------------------------------------------------- */

static struct {
	char *words;
	size_t bytes;
	const char *names;
} last;

static size_t put_text(char *line, size_t at, size_t bytes, const char *text)
{
	while (*text && at + 1 < bytes)
		line[at++] = *text++;
	return at;
}

static size_t put_decimal(char *line, size_t at, size_t bytes, unsigned number)
{
	char digits[12];
	unsigned n = sizeof(digits);

	digits[--n] = '\0';
	do {
		digits[--n] = (char)('0' + number % 10);
	} while (number /= 10);
	return put_text(line, at, bytes, digits + n);
}

/* Not to standard error: that may be a pipe that nobody reads. */
static void say_last(const char *text)
{
	size_t at = last.words ? put_text(last.words, 0, last.bytes, text) : 0;

	if (last.words)
		last.words[at] = '\0';
}

void sandbox_end(const char *text)
{
	say_last(text);
	_exit(EXIT_FAILURE);
}

/* In a signal handler, perhaps of a process that is no longer ours. The call was not carried
 * out, and none is that it might try now. */
static void on_refused(int number, siginfo_t *info, void *context)
{
	unsigned call = (unsigned)info->si_syscall;
	char line[96];
	size_t at;

	(void)context;
	at = put_text(line, 0, sizeof(line), "the sandbox refused the system call ");
	if (last.names && call < NAMES && last.names[(size_t)call * NAME_BYTES]) {
		at = put_text(line, at, sizeof(line), last.names + (size_t)call * NAME_BYTES);
		at = put_text(line, at, sizeof(line), ", number ");
	}
	at = put_decimal(line, at, sizeof(line), call);
	line[at] = '\0';
	say_last(line);
	/* SA_RESETHAND and SA_NODEFER: this is the end. */
	(void)raise(number);
	_exit(EXIT_FAILURE);
}

#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offset))
#define LOAD_NUMBER  LOAD(offsetof(struct seccomp_data, nr))
/* The half that counts in an int. */
#define LOAD_ARGUMENT(nth)                                                                         \
	LOAD(offsetof(struct seccomp_data, args) + (nth) * sizeof(uint64_t) +                      \
		(__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0))
/* Instructions to pass over. */
#define IF(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), yes, no)
#define RETURN(action)     BPF_STMT(BPF_RET | BPF_K, (action))

static int install(const struct sock_fprog *program)
{
	/* Speculation: there is no foreign code here that it would have to be kept from. */
	unsigned flags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG |
			 SECCOMP_FILTER_FLAG_SPEC_ALLOW;
	long res = syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, program);

	/* Above 0: a thread that has other filters. */
	return res == 0 ? 0 : res < 0 ? -errno : -ESRCH;
}

/* Signals only to ourselves, and SIGRTMIN to @keeper. The filter that serves every successor
 * can't know their numbers, so this one comes beside it; the stricter of two counts. */
static int filter_signals(pid_t keeper)
{
	const pid_t us = getpid();
	struct sock_filter code[] = {
		LOAD_NUMBER,                          /* 0 */
		IF(__NR_tgkill, 2, 0),                /* to 4 */
		IF(__NR_kill, 1, 0),                  /* to 4 */
		RETURN(SECCOMP_RET_ALLOW),            /* 3: not a signal */
		LOAD_ARGUMENT(0),                     /* 4 */
		IF(us, 5, 0),                         /* to 11 */
		IF(keeper ? keeper : us, 0, 5),       /* else to 12 */
		LOAD_NUMBER, IF(__NR_kill, 0, 3),     /* else to 12 */
		LOAD_ARGUMENT(1), IF(SIGRTMIN, 0, 1), /* else to 12 */
		RETURN(SECCOMP_RET_ALLOW),            /* 11 */
		RETURN(SECCOMP_RET_TRAP),             /* 12 */
	};

	return install(&(struct sock_fprog){sizeof(code) / sizeof(*code), code});
}

static int enter(const struct sock_fprog *program, pid_t keeper)
{
	struct sigaction action = {
		.sa_sigaction = on_refused,
		.sa_flags = SA_SIGINFO | SA_RESETHAND | SA_NODEFER,
	};
	int err;

	(void)sigemptyset(&action.sa_mask);
	if (sigaction(SIGSYS, &action, NULL) != 0)
		return -errno;
	/* The second one takes seccomp(2) away. */
	err = filter_signals(keeper);
	return err ? err : install(program);
}

void sandbox_words(char *words, size_t bytes)
{
	last.words = words;
	last.bytes = bytes;
}

int sandbox_enter(const struct sandbox *s, pid_t keeper, struct why *why)
{
	int err;

	if (!sandbox_on(s))
		return 0;
	last.names = s->names;
	err = enter(&s->broker, keeper);
	return err ? why_fail(why, err, "--sandbox: seccomp: %s", strerror(-err)) : 0;
}

int sandbox_enter_looker(const struct sandbox *s)
{
	int err;

	if (!sandbox_on(s))
		return 0;
	last.names = s->names;
	err = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : -errno;
	/* What is needed to look into another user's process, and to hand over a file. */
	if (!err)
		err = keep_capabilities(BIT(CAP_SYS_PTRACE) | BIT(CAP_DAC_READ_SEARCH) | IN_FLIGHT);
	return err ? err : enter(&s->looker, 0);
}

void sandbox_log(const struct sandbox *s)
{
	if (s->missing)
		log_event(sandbox, LOG_TEXT("seccomp", s->seccomp ? "yes" : "no"),
			LOG_NUMBER("landlock", s->landlock), LOG_TEXT("missing", s->missing));
	else
		log_event(sandbox, LOG_TEXT("seccomp", "yes"), LOG_NUMBER("landlock", s->landlock));
}
