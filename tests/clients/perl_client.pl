# Perl's DBD::mysql. Runs checks.json and prints one JSON line per check, as interpreter.py does for Python clients.
#
# Never here: what a result should be. The runner compares two runs.
use v5.28;
use warnings;
use utf8;

use DBI;
use Digest::SHA qw(sha256_hex);
use Encode qw(encode);
use File::Basename qw(dirname);
use File::Temp;
use Getopt::Long;
use JSON::PP;
use POSIX ();

use constant LONG         => 200;    # longer texts are shown as length and digest
use constant MANY_ROWS    => 200;    # more rows are shown as count and digest
use constant KILL_SECONDS => 30;     # a statement that is not gone by then was not killed

my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my %login = (host => '127.0.0.1', user => 'clients', password => '', database => 'clients');
GetOptions(\%login, 'host=s', 'port=i', 'user=s', 'password=s', 'database=s') or exit 2;

sub shortened {
    my ($text) = @_;
    return "$text" if length $text <= LONG;
    return { length => length $text, sha256 => sha256_hex(encode('UTF-8', $text)) };
}

sub canonical {
    my ($value) = @_;
    return undef unless defined $value;
    return [map { canonical($_) } @$value] if ref $value eq 'ARRAY';
    return shortened($value);
}

sub described { my ($handle) = @_; return { error => [$handle->err, $handle->state, $handle->errstr] } }

sub with_options {
    my (%given) = @_;
    my $source = "DBI:mysql:host=$given{host};port=$given{port};mysql_local_infile=1;mysql_multi_statements=1";
    $source .= ';mysql_connect_timeout=20';
    $source .= ";database=$given{database}" if defined $given{database};
    $source .= ';mysql_compression=1'       if $given{compress};
    $source .= ';mysql_ssl=1;mysql_ssl_optional=0' if $given{tls};
    return $source;
}

sub dial {
    my (%given) = @_;
    my %how = (PrintError => 0, RaiseError => 0, AutoCommit => 1, mysql_enable_utf8mb4 => 1, mysql_server_prepare => 0);
    my $handle = DBI->connect(with_options(%given), $given{user}, $given{password}, \%how);
    die { error => [$DBI::err, $DBI::state, $DBI::errstr] } unless $handle;
    if ($given{charset}) { $handle->do("SET NAMES $given{charset}") }
    return $handle;
}

# All results of a statement that was executed.
sub results {
    my ($statement) = @_;
    my @all;
    while (1) {
        push @all, one_result($statement);
        last unless $statement->more_results;
    }
    push @all, described($statement) if $statement->err;
    return \@all;
}

sub one_result {
    my ($statement) = @_;
    my %shown = (affected => $statement->rows, id => $statement->{mysql_insertid}, warnings => $statement->{mysql_warning_count});
    if ($statement->{NUM_OF_FIELDS}) {
        $shown{columns} = [map { canonical($statement->{$_}) } qw(NAME TYPE PRECISION SCALE NULLABLE mysql_type_name mysql_table)];
        my $rows = [map { canonical($_) } @{ $statement->fetchall_arrayref }];
        $rows = { rows => scalar @$rows, sha256 => sha256_hex($json->encode($rows)) } if @$rows > MANY_ROWS;
        $shown{rows} = $rows;
    }
    return \%shown;
}

sub query {
    my ($handle, $sql) = @_;
    my $statement = $handle->prepare($sql) or return described($handle);
    $statement->execute or return described($statement);
    return results($statement);
}

# Over the binary protocol.
sub execute {
    my ($handle, $sql, @values) = @_;
    my $statement = $handle->prepare($sql, { mysql_server_prepare => 1 }) or return described($handle);
    $statement->execute(@values) or return described($statement);
    return one_result($statement);
}

sub parameter {
    my ($spec) = @_;
    my ($kind) = keys %$spec;
    my $value = $spec->{$kind};
    return undef                        if $kind eq 'null';
    return pack('H*', $value)           if $kind eq 'bytes';
    return $value->[0] x $value->[1]    if $kind eq 'repeat';
    return $value =~ s/T/ /r            if $kind eq 'datetime';
    return $value;    # Perl's scalars are numbers or texts as it likes
}

sub transaction {
    my ($handle, $plan) = @_;
    $handle->do("SET TRANSACTION ISOLATION LEVEL $plan->{isolation}") if $plan->{isolation};
    $handle->do('SET SESSION TRANSACTION READ ONLY') if $plan->{read_only};
    $handle->begin_work or return described($handle);
    my @all = map { query($handle, $_) } @{ $plan->{queries} };
    push @all, $plan->{end} eq 'commit' ? $handle->commit : $handle->rollback;
    $handle->do('SET SESSION TRANSACTION READ WRITE') if $plan->{read_only};
    return \@all;
}

sub bulk {
    my ($handle, $plan) = @_;
    my $statement = $handle->prepare($plan->{sql}, { mysql_server_prepare => 1 }) or return described($handle);
    my @rows = map { [map { parameter($_) } @$_] } @{ $plan->{rows} };
    my $count = $statement->execute_for_fetch(sub { shift @rows }, \my @status);
    return [$count, canonical(\@status)];
}

sub abandon {
    my ($handle, $sql) = @_;
    my $statement = $handle->prepare($sql, { mysql_use_result => 1 });
    $statement->execute or return described($statement);
    my $width = @{ $statement->fetchrow_arrayref };
    $statement->finish;
    return $width;
}

sub infile {
    my ($handle, $content, $table) = @_;
    my $file = File::Temp->new;
    print {$file} encode('UTF-8', $content);
    close $file;
    return query($handle, "LOAD DATA LOCAL INFILE '$file' INTO TABLE $table");
}

# KILL QUERY from a process of its own, again and again: a statement that has not begun yet is not hurt by one.
sub kill_query {
    my ($handle, $sql) = @_;
    my $number = $handle->{mysql_thread_id};
    my $killer = fork // die "fork: $!";
    if (!$killer) {
        $handle->{AutoInactiveDestroy} = 1;
        my $own = dial(%login);
        for (1 .. KILL_SECONDS * 10) { $own->do("KILL QUERY $number"); select undef, undef, undef, 0.1 }
        POSIX::_exit(0);
    }
    my $result = query($handle, $sql);
    kill 'KILL', $killer;
    waitpid $killer, 0;
    return $result;
}

sub step {
    my ($open, $step) = @_;
    my ($kind) = grep { exists $step->{$_} } qw(connect open query execute ping infile missing_infile abandon kill_query transaction bulk);
    return 'unsupported' unless $kind;    # reset, use, charset, change_user, cursor, pool: no such calls
    my $argument = $step->{$kind};
    if ($kind eq 'connect') {
        $open->{other} = dial(%login, %$argument);
        return query($open->{other}, 'SELECT DATABASE(), CURRENT_USER()');
    }
    my $handle = $open->{ $kind eq 'open' ? $argument : $step->{on} // 'a' } //= dial(%login);
    return 'open'               if $kind eq 'open';
    return $handle->ping        if $kind eq 'ping';
    if ($kind eq 'query') {
        if (my $big = $step->{big}) { $argument =~ s/\$big/$big->[0] x $big->[1]/e }
        return query($handle, $argument);
    }
    return execute($handle, $argument, map { parameter($_) } @{ $step->{params} }) if $kind eq 'execute';
    return infile($handle, $argument, $step->{into}) if $kind eq 'infile';
    return query($handle, "LOAD DATA LOCAL INFILE '/nonexistent/file.tsv' INTO TABLE $argument") if $kind eq 'missing_infile';
    return abandon($handle, $argument)     if $kind eq 'abandon';
    return transaction($handle, $argument) if $kind eq 'transaction';
    return bulk($handle, $argument)        if $kind eq 'bulk';
    return kill_query($handle, $argument);
}

sub main {
    local $| = 1;
    my $path = $ENV{CHECKS_JSON} // dirname(__FILE__) . '/checks.json';
    open my $file, '<:raw', $path or die "$path: $!";
    my $checks = $json->decode(do { local $/; <$file> });
    my $first = eval { dial(%login) };
    my $library = $first ? $first->{mysql_clientinfo} : 'unknown';
    $first->disconnect if $first;
    say $json->encode({ version => "DBD::mysql $DBD::mysql::VERSION, client library $library, Perl $^V" });
    my %wanted = map { $_ => 1 } @ARGV;
    for my $check (@$checks) {
        next if %wanted && !$wanted{ $check->{check} };
        my %open;
        my @result = map { my $step = $_; eval { step(\%open, $step) } // (ref $@ ? $@ : { error => "$@" }) } @{ $check->{steps} };
        $_->disconnect for values %open;
        say $json->encode({ check => $check->{check}, result => \@result });
    }
}

main();
