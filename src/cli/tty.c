#include "cli/tty.h"
#include "base/auto.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

/* Another screen, so that what was there comes back; no cursor; lines are cut at the right end. */
static const char enter_text[] = "\033[?1049h\033[?25l\033[?7l\033[2J",
                  leave_text[] = "\033[0m\033[?7h\033[?25h\033[?1049l";

static const int asked[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH};
static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};

static struct termios before, during;
static volatile sig_atomic_t taken, end_signal, resized, stopped;

bool tty_write(const char *p, size_t n)
{
    while (n > 0) {
        const ssize_t done = write(STDOUT_FILENO, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
    }
    return true;
}

/* Only what a signal handler may call. */
void tty_restore(void)
{
    if (!taken)
        return;
    taken = 0;
    (void)tty_write(leave_text, sizeof(leave_text) - 1);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
}

static int take(void)
{
    if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &during) != 0)
        return -1;
    taken = 1;
    return tty_write(enter_text, sizeof(enter_text) - 1) ? 0 : -1;
}

static void on_asked(int sig)
{
    if (sig == SIGWINCH)
        resized = 1;
    else if (sig == SIGTSTP)
        stopped = 1;
    else
        end_signal = sig;
}

static void on_crash(int sig) /* SA_RESETHAND: the second time it does what it does */
{
    tty_restore();
    raise(sig);
}

/* They come only while tty_wait sleeps: none falls between a look at the flags and the sleep. */
static void asked_set(sigset_t *set)
{
    sigemptyset(set);
    for (size_t i = 0; i < ARRAY_LEN(asked); i++)
        sigaddset(set, asked[i]);
}

int tty_enter(struct err *err)
{
    struct sigaction sa = {.sa_handler = on_asked},
                     crash = {.sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND | SA_NODEFER}, was;
    sigset_t set;
    if (tcgetattr(STDIN_FILENO, &before) != 0)
        return err_set(err, ERR_IO, errno, "the terminal's settings");
    during = before;
    during.c_lflag &= ~(tcflag_t)(ICANON | ECHO | IEXTEN); /* ISIG stays: Ctrl-C and Ctrl-Z are signals */
    during.c_iflag &= ~(tcflag_t)(IXON | ICRNL);
    during.c_cc[VMIN] = 1;
    during.c_cc[VTIME] = 0;
    asked_set(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    for (size_t i = 0; i < ARRAY_LEN(asked); i++)
        if (sigaction(asked[i], NULL, &was) == 0 && was.sa_handler != SIG_IGN) /* nohup means it */
            sigaction(asked[i], &sa, NULL);
    for (size_t i = 0; i < ARRAY_LEN(crashes); i++)
        if (sigaction(crashes[i], NULL, &was) == 0 && was.sa_handler == SIG_DFL) /* a sanitizer has its own */
            sigaction(crashes[i], &crash, NULL);
    atexit(tty_restore);
    if (take() != 0)
        return err_set(err, ERR_IO, errno, "the terminal");
    return ERR_OK;
}

void tty_leave(void)
{
    struct sigaction usual = {.sa_handler = SIG_DFL};
    sigset_t set;
    tty_restore();
    asked_set(&set);
    for (size_t i = 0; i < ARRAY_LEN(asked); i++)
        sigaction(asked[i], &usual, NULL);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    if (end_signal)
        raise(end_signal);
}

void tty_size(unsigned *ret_width, unsigned *ret_height)
{
    struct winsize ws = {0};
    (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws); /* zeros when it is not known */
    *ret_width = ws.ws_col ? ws.ws_col : 80;
    *ret_height = ws.ws_row ? ws.ws_row : 24;
}

static void stop(void)
{
    stopped = 0;
    tty_restore();
    kill(getpid(), SIGSTOP); /* goes on here */
    if (take() != 0)
        end_signal = SIGHUP;
}

unsigned tty_wait(int fd, int timeout_ms)
{
    const struct timespec limit = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L};
    struct pollfd p[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    sigset_t all_but;
    unsigned events = 0;
    sigprocmask(SIG_SETMASK, NULL, &all_but);
    for (size_t i = 0; i < ARRAY_LEN(asked); i++)
        sigdelset(&all_but, asked[i]);
    const int n = ppoll(p, ARRAY_LEN(p), timeout_ms < 0 ? NULL : &limit, &all_but);
    if (n > 0 && (p[0].revents & POLLIN))
        events |= TTY_INPUT;
    else if (n > 0 && p[0].revents)
        events |= TTY_END;
    if (n > 0 && p[1].revents)
        events |= TTY_OTHER;
    if (stopped) {
        stop();
        events |= TTY_BACK;
    }
    events |= resized ? TTY_RESIZED : 0;
    resized = 0;
    return events | (end_signal ? TTY_END : 0);
}

size_t tty_read(char *p, size_t n)
{
    const ssize_t got = read(STDIN_FILENO, p, n);
    return got > 0 ? (size_t)got : 0;
}
