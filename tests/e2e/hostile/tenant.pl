#!/usr/bin/perl
# A taken-over application, for tests.
#
#   tenant.pl serve PORT      a tenant's service: GET /health answers as one, and
#                             GET /try?ATTACK&ARGUMENT... tries an attack
#   tenant.pl try ATTACK ARGUMENT...    tries it from anywhere else
#
# What an attack came to is one line: `succeeded WHAT`, or `stopped ERROR WHAT`
# with the kernel's name of the error, or `-` if a program said no.
#
# System calls are made by their numbers on x86_64; perl hands them numbers as
# such only if they are no text: arguments go through `int`. perl-base is on every Debian.
use strict;
use warnings;
use Errno;
use Fcntl;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use Socket;

$SIG{PIPE} = 'IGNORE';
$SIG{XFSZ} = 'IGNORE';

my $MEBIBYTE = 1 << 20;
my $NULL     = 0;
my $RDWR     = 3;
my $RWX      = 7;
my $PRIVATE  = 0x22;    # MAP_PRIVATE | MAP_ANONYMOUS

# Name, number, arguments.
my %CALLS = (
    acct              => [163, "/tmp/acct"],
    add_key           => [248, "user", "evil", "secret", 6, -3],
    bpf               => [321, 0, "\0" x 128, 128],
    chroot            => [161, "/tmp"],
    clock_settime     => [227, 0, pack("qq", 1_000_000_000, 0)],
    delete_module     => [176, "loop", 0],
    fanotify_init     => [300, 0, 0],
    finit_module      => [313, 0, "", 0],
    init_module       => [175, "\0" x 64, 64, ""],
    io_uring_setup    => [425, 8, "\0" x 120],
    ioperm            => [173, 0x70, 2, 1],
    iopl              => [172, 3],
    kexec_file_load   => [320, 0, 0, 1, "", 0],
    kexec_load        => [246, 0, 0, $NULL, 0],
    keyctl            => [250, 0, -3, 1],
    mount             => [165, "none", "/tmp", "tmpfs", 0, $NULL],
    open_by_handle_at => [304, -100, pack("IIQ", 8, 1, 2), 0],
    perf_event_open   => [298, pack("IIQ", 1, 112, 0) . "\0" x 96, 0, -1, -1, 0],
    personality       => [135, 0x0040000],
    pivot_root        => [155, "/tmp", "/tmp"],
    quotactl          => [179, 0x800001 << 8, $NULL, 0, $NULL],
    reboot            => [169, 0xfee1dead, 672274793, 0x01234567, $NULL],
    remount           => [165, "none", "/", "none", 32 | 4096, $NULL],
    sched_setscheduler => [144, 0, 1, pack("i", 50)],
    sethostname       => [170, "evil", 4],
    setns             => [308, 0, 0],
    setpriority       => [141, 0, 0, -20],
    settimeofday      => [164, pack("qq", 1_000_000_000, 0), $NULL],
    setuid            => [105, 0],
    swapon            => [167, "/tmp/swap", 0],
    syslog            => [103, 3, "\0" x 4096, 4096],
    umount2           => [166, "/run", 2],
    unshare_mount     => [272, 0x00020000],
    unshare_network   => [272, 0x40000000],
    unshare_user      => [272, 0x10000000],
    userfaultfd       => [323, 1],
);

my %ATTACKS = (
    read    => \&read_file,
    write   => \&write_file,
    list    => \&list_folder,
    replace => \&replace_folder,
    through => \&read_through_link,
    link    => sub { done(link($_[0], $_[1]), "linked") },
    lay     => \&lay,
    litter  => \&litter,
    swap    => \&swap_for_links,
    pile    => \&pile_up,
    deep    => \&dig,
    node    => sub { done(!failed(133, $_[0], 0020600, 0x0101), "made a device") },
    setuid_file => \&setuid_file,
    own     => sub { touch($_[0]); done(chown($_[1], $_[1], $_[0]), "given away") },
    capable => \&capable_file,
    immutable => \&make_immutable,
    freeze  => \&freeze_files,
    connect => \&connect_to,
    connect6 => \&connect_to6,
    unix    => \&connect_unix,
    listen  => \&listen_on,
    socket  => sub { done(socket(my $s, $_[0], $_[1], $_[2]), "a socket") },
    log     => \&forge_log,
    run     => \&run_program,
    see     => \&see_processes,
    signal  => sub { done(kill(0, $_[0]), "may signal it") },
    trace   => sub { done(!failed(101, 16, int $_[0], $NULL, $NULL), "attached") },
    memory  => \&read_memory,
    pidfd   => \&steal_descriptor,
    cgroup  => \&change_cgroup,
    call    => \&call,
    code    => \&write_code,
    protect => \&make_executable,
    shared  => sub { done(defined shmget($_[0], 1, 0), "opened") },
    queue   => sub { done(!failed(240, "$_[0]", 0, 0, $NULL), "opened") },
    fork    => \&fork_flood,
    space   => \&space_flood,
    size    => \&large_file,
    descriptors => \&descriptor_flood,
    core    => \&raise_core_limit,
);

my ($mode, @arguments) = @ARGV;
if ($mode eq 'try') {
    print attempt(@arguments), "\n";
} else {
    serve(@arguments);
}

sub serve {
    my ($port) = @_;
    my $server = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 64, ReuseAddr => 1)
        or die "cannot listen on $port: $!";
    # perl then waits for no child, so that each attack is its own process.
    $SIG{CHLD} = 'IGNORE';
    open my $file, '<', $ENV{CB_RELEASE_DIR} ? "$ENV{CB_RELEASE_DIR}/VERSION" : 'VERSION';
    chomp(my $version = <$file> // '');
    while (1) {
        my $client = $server->accept or next;
        my $pid = fork;
        if ($pid) { close $client; next }
        $SIG{CHLD} = 'DEFAULT';
        my $request = <$client> // '';
        while (my $line = <$client>) { last if $line =~ /^\r?$/ }
        my ($path) = $request =~ m{^GET (\S+)};
        my $body = "{\"status\":\"ok\",\"version\":\"$version\",\"schemaVersion\":1}";
        if (defined $path && $path =~ s{^/try\?}{}) {
            $body = attempt(split /&/, $path);
        }
        print $client "HTTP/1.1 200 OK\r\nContent-Length: ", length $body,
            "\r\nConnection: close\r\n\r\n$body";
        POSIX::_exit(0);
    }
}

sub attempt {
    my ($name, @with) = @_;
    my $attack = $ATTACKS{$name} or return "unknown attack $name";
    return $attack->(@with);
}

sub succeeded { my ($what) = @_; $what =~ s/\s+/ /g; return "succeeded $what" }

sub stopped {
    my ($what) = @_;
    # Some errors have two names.
    my ($name) = sort grep { $!{$_} } keys %!;
    return "stopped " . ($name // '-') . " $what";
}

sub refused { my ($what) = @_; $what =~ s/\s+/ /g; return "stopped - $what" }

sub done { my ($ok, $what) = @_; return $ok ? succeeded($what) : stopped("not $what") }

# Whether a system call by its number fails.
sub failed { my ($number, @with) = @_; return syscall($number, @with) == -1 }

sub touch { open my $file, '>>', $_[0]; close $file if $file }

sub read_file {
    sysopen(my $file, $_[0], O_RDONLY) or return stopped("cannot open it");
    my $count = sysread $file, my $data, 64;
    return defined $count && $count > 0 ? succeeded("read $count bytes") : stopped("cannot read it");
}

# Opening is enough; what is written is nothing.
sub write_file {
    return done(sysopen(my $file, $_[0], O_WRONLY | O_APPEND | O_CREAT, 0600), "opened for writing");
}

# Whether a folder has more in it than the name that is one's own.
sub list_folder {
    my ($folder, @own) = @_;
    opendir my $dir, $folder or return stopped("cannot list it");
    my @more = grep { my $name = $_; $name !~ /^\.\.?$/ && !grep { $_ eq $name } @own } readdir $dir;
    return @more ? succeeded("saw @more") : refused("nothing of others is in it");
}

sub replace_folder {
    my ($folder, $target) = @_;
    rename $folder, "$folder.away" or return stopped("cannot move it");
    return done(symlink($target, $folder), "replaced");
}

sub read_through_link {
    my ($link, $target) = @_;
    unlink $link;
    symlink $target, $link or return stopped("no link");
    return read_file($link);
}

# Puts something else in the place of a file of one's own.
sub lay {
    my ($what, $place, $target) = @_;
    unlink $place;
    return done($what eq 'fifo' ? POSIX::mkfifo($place, 0600) : symlink($target, $place), "laid");
}

# Everything that a folder can hold and nobody expects, with names that are meant
# for terminals, shells and readers of lines.
sub litter {
    my ($folder) = @_;
    my @names = ("a\nb", "\e[31mred\e]0;title\a", "\xff\xfe", "-rf", "--", " ", "backup.yaml",
        "%n \$HOME `id`", "\xe2\x80\xaegnp.exe", "x" x 255, "tenant.duckdb.wal\n");
    for my $name (@names) {
        touch("$folder/$name");
        return stopped("no file") unless -e "$folder/$name";
    }
    POSIX::mkfifo("$folder/fifo", 0600) or return stopped("no FIFO");
    mkdir "$folder/closed", 0;
    # The path of a socket is short; a folder's descriptor makes it so.
    opendir my $dir, $folder;
    my $short = "/proc/self/fd/" . fileno($dir);
    IO::Socket::UNIX->new(Local => "$short/socket", Listen => 1) or return stopped("no socket there");
    symlink "/", "$folder/root";
    symlink "loop", "$folder/loop";
    return succeeded("littered");
}

# Goes on until there is a file `stop`: a file and a link by the same name, and a
# folder and a link, now this and now that.
sub swap_for_links {
    my ($folder, $file, $target) = @_;
    mkdir "$folder/$_" for qw(a a/b);
    touch("$folder/a/b/c");
    touch("$folder/$file") unless -e "$folder/$file";
    symlink $target, "$folder/$file.link";
    symlink "/", "$folder/a.link";
    return stopped("nothing to swap") unless -l "$folder/$file.link" && -l "$folder/a.link";
    if (!fork) {
        until (-e "$folder/stop") {
            for my $name ($file, "a") {
                # RENAME_EXCHANGE: neither is ever missing.
                syscall 316, -100, "$folder/$name", -100, "$folder/$name.link", 2;
            }
        }
        POSIX::_exit(0);
    }
    return succeeded("swaps");
}

# Goes on writing files, so many MiB in a second at most, until it cannot.
sub pile_up {
    my ($folder, $rate) = @_;
    if (!fork) {
        my $mebibyte = "x" x $MEBIBYTE;
        for my $n (1 .. 10_000) {
            open my $out, '>', "$folder/pile-$n" or last;
            last unless (syswrite($out, $mebibyte) // 0) == $MEBIBYTE;
            select undef, undef, undef, 1 / $rate;
        }
        POSIX::_exit(0);
    }
    return succeeded("piles up");
}

sub dig {
    my ($folder, $depth) = @_;
    chdir $folder or return stopped("not there");
    my $name = "d" x 200;
    for my $n (1 .. $depth) {
        mkdir $name and chdir $name or return stopped("after $n");
    }
    touch("bottom");
    return succeeded("is $depth folders deep");
}

sub make_immutable {
    my ($file) = @_;
    touch($file);
    open my $open, '<', $file or return stopped("no file");
    # FS_IOC_SETFLAGS, FS_IMMUTABLE_FL
    my $flags = pack "LL", 0x10, 0;
    my $result = done(ioctl($open, 0x40086602, $flags), "is immutable");
    unlink $file;
    return $result;
}

sub freeze_files {
    my ($folder) = @_;
    sysopen my $open, $folder, O_RDONLY or return stopped("no folder");
    # FIFREEZE
    my $nothing = pack "L", 0;
    return done(ioctl($open, 0xc0045877, $nothing), "froze it");
}

sub setuid_file {
    my ($file) = @_;
    touch($file);
    my $ok = chmod 04755, $file;
    my $result = done($ok, "is set-uid");
    unlink $file;
    return $result;
}

sub capable_file {
    my ($file) = @_;
    touch($file);
    my $all = pack "IIIII", 0x02000001, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff;
    my $result = done(!failed(188, $file, "security.capability", $all, 20, 0), "has capabilities");
    unlink $file;
    return $result;
}

sub connect_to {
    my ($address, $port) = @_;
    socket(my $socket, AF_INET, SOCK_STREAM, 0) or return stopped("no socket");
    return done(connect($socket, pack_sockaddr_in($port, inet_aton($address))), "connected");
}

sub connect_to6 {
    my ($address, $port) = @_;
    socket(my $socket, AF_INET6, SOCK_STREAM, 0) or return stopped("no socket");
    my $to = pack_sockaddr_in6($port, Socket::inet_pton(AF_INET6, $address));
    return done(connect($socket, $to), "connected");
}

sub connect_unix {
    my ($path) = @_;
    # Both kinds: some listen for datagrams.
    for my $kind (SOCK_STREAM, SOCK_DGRAM, 5) {
        socket(my $socket, AF_UNIX, $kind, 0) or return stopped("no socket");
        return succeeded("connected") if connect($socket, pack_sockaddr_un($path));
        last unless $!{EPROTOTYPE};
    }
    return stopped("not connected");
}

# Goes on listening: whoever asks is the test.
sub listen_on {
    my ($address, $port) = @_;
    my $server = IO::Socket::INET->new(
        LocalAddr => $address, LocalPort => $port, Listen => 8, ReuseAddr => 1)
        or return stopped("cannot listen");
    if (!fork) {
        while (my $client = $server->accept) {
            print $client "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nevil\n";
            close $client;
        }
        POSIX::_exit(0);
    }
    return succeeded("listens");
}

# The journal takes fields from anybody; those with an underscore are its own.
sub forge_log {
    my ($unit, $line) = @_;
    socket(my $socket, AF_UNIX, SOCK_DGRAM, 0) or return stopped("no socket");
    my $text = "MESSAGE=$line\n_SYSTEMD_UNIT=$unit\nUNIT=$unit\nOBJECT_SYSTEMD_UNIT=$unit\n_PID=1\nPRIORITY=3\n";
    return done(send($socket, $text, 0, pack_sockaddr_un("/run/systemd/journal/socket")), "sent");
}

# Whether a program's output has what must not be there, or, with `-`, whether
# it ends well.
sub run_program {
    my ($find, @command) = @_;
    my $pid = open(my $out, '-|') // return stopped("no process");
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        open STDIN, '<', '/dev/null';
        exec(@command) or POSIX::_exit(127);
    }
    my $text = join '', <$out>;
    close $out;
    my $ok = $find eq '-' ? $? == 0 : index($text, $find) >= 0;
    return $ok ? succeeded($text) : refused(substr $text, 0, 200);
}

sub see_processes {
    opendir my $dir, '/proc' or return stopped("no /proc");
    my @others = grep { /^\d+$/ && ((stat "/proc/$_")[4] // $>) != $> } readdir $dir;
    return @others ? succeeded("saw @others") : refused("sees its own processes alone");
}

sub read_memory {
    my ($pid) = @_;
    my $buffer = "\0" x 8;
    my $local = pack "PQ", $buffer, 8;
    my $remote = pack "QQ", 0x400000, 8;
    my $count = syscall 310, int $pid, $local, 1, $remote, 1, 0;
    # A bad address is the kernel's answer to one that may read.
    return $count >= 0 || $!{EFAULT} ? succeeded("may read it") : stopped("cannot read it");
}

sub steal_descriptor {
    my ($pid) = @_;
    my $fd = syscall 434, int $pid, 0;
    return stopped("no handle of it") if $fd < 0;
    return done(!failed(438, $fd, 1, 0), "took a descriptor");
}

sub change_cgroup {
    my ($group) = @_;
    for my $root ("", "/systemd", "/unified") {
        my $file = "/sys/fs/cgroup$root$group/cgroup.procs";
        next unless -e $file;
        return done(sysopen(my $f, $file, O_WRONLY), "may move processes");
    }
    return refused("no cgroup of that name");
}

sub call {
    my ($name) = @_;
    my ($number, @with) = @{$CALLS{$name} // die "no call $name"};
    return done(!failed($number, @with), "made the call");
}

sub write_code {
    return done(!failed(9, $NULL, 4096, $RWX, $PRIVATE, -1, 0), "memory to write and to run");
}

sub make_executable {
    my $page = syscall 9, $NULL, 4096, $RDWR, $PRIVATE, -1, 0;
    return stopped("no memory") if $page == -1;
    return done(!failed(10, $page, 4096, 5), "made written memory executable");
}

sub fork_flood {
    my ($enough) = @_;
    my @children;
    my $failure;
    pipe my $wait, my $go;
    while (@children < $enough) {
        my $pid = fork;
        if (!defined $pid) { $failure = stopped("after " . @children); last }
        if (!$pid) { close $go; sysread $wait, my $byte, 1; POSIX::_exit(0) }
        push @children, $pid;
    }
    kill 'KILL', @children;
    waitpid $_, 0 for @children;
    return $failure // succeeded("has $enough processes");
}

sub space_flood {
    my ($folder, $enough) = @_;
    my $file = "$folder/flood";
    open my $out, '>', $file or return stopped("no file");
    my $mebibyte = "x" x $MEBIBYTE;
    my $result;
    for my $n (1 .. $enough) {
        my $written = syswrite $out, $mebibyte;
        if (($written // 0) < $MEBIBYTE) {
            # What is left of the space is taken; the next byte says why not.
            syswrite $out, $mebibyte while !defined $written || $written > 0 and ($written = syswrite $out, $mebibyte);
            $result = stopped("after $n MiB");
            last;
        }
    }
    unlink $file;
    return $result // succeeded("wrote $enough MiB");
}

sub large_file {
    my ($file, $size) = @_;
    open my $out, '>', $file or return stopped("no file");
    my $result = done(truncate($out, $size), "is that large");
    unlink $file;
    return $result;
}

sub descriptor_flood {
    my ($enough) = @_;
    my @open;
    while (@open < $enough) {
        open my $file, '<', '/dev/null' or return stopped("after " . @open);
        push @open, $file;
    }
    return succeeded("has $enough files open");
}

sub raise_core_limit {
    return done(!failed(160, 4, pack("QQ", 1 << 30, 1 << 30)), "dumps core");
}
