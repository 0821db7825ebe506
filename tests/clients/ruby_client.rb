# Ruby's mysql2. Runs checks.json and prints one JSON line per check, as interpreter.py does for Python clients.
#
# Never here: what a result should be. The runner compares two runs.
# frozen_string_literal: true

require 'bigdecimal'
require 'date'
require 'digest'
require 'json'
require 'mysql2'
require 'optparse'
require 'tempfile'

LONG = 200 # longer texts are shown as length and digest
MANY_ROWS = 200 # more rows are shown as count and digest
KILL_SECONDS = 30 # a statement that is not gone by then was not killed

# This driver can't do such a step at all.
class Unsupported < StandardError; end

def shortened(text)
  return text if text.length <= LONG

  { length: text.length, sha256: Digest::SHA256.hexdigest(text) }
end

# A value with its type, so that 1 and "1" differ.
def canonical(value)
  case value
  when nil, true, false then value
  when String
    value.encoding == Encoding::BINARY || !value.valid_encoding? ? { bytes: shortened(value.unpack1('H*')) } : shortened(value)
  when BigDecimal then { BigDecimal: value.to_s('F') }
  when Time then { Time: value.strftime('%F %T.%6N %z') }
  when Array then value.map { |item| canonical(item) }
  when Hash then value.to_h { |key, item| [key, canonical(item)] }
  else { value.class.name => value.to_s }
  end
end

def described(error)
  return { class: error.class.name, message: error.message } unless error.is_a?(Mysql2::Error)

  { class: error.class.name, number: error.error_number, state: error.sql_state, message: error.message }
end

def parameter(spec)
  kind, value = spec.first
  case kind
  when 'null' then nil
  when 'bytes' then [value].pack('H*')
  when 'decimal' then BigDecimal(value)
  when 'date' then Date.iso8601(value)
  when 'datetime' then Time.iso8601("#{value}Z")
  when 'repeat' then value[0] * value[1]
  else value # int, float, str, and the types that Ruby lacks, as text
  end
end

# One connection.
class Connection
  attr_reader :client

  def initialize(client)
    @client = client
  end

  def query(sql)
    all = [shown(@client.query(sql))]
    while @client.more_results?
      begin
        @client.next_result
        all << shown(@client.store_result)
      rescue Mysql2::Error => e
        return all << { error: canonical(described(e)) }
      end
    end
    all
  end

  def execute(sql, params)
    statement = @client.prepare(sql)
    result = statement.execute(*params, as: :hash, cast_booleans: false)
    shown(result, statement)
  ensure
    statement&.close
  end

  def shown(result, source = @client)
    warnings = @client.warning_count
    return { affected: source.affected_rows, id: source.last_id, warnings: warnings } if result.nil?

    # Before the rows, reading which frees what they look at. With statements that happens earlier (mysql2 0.5.7
    # crashes), so there the rows are hashes, which name their columns.
    about = source.equal?(@client) ? { fields: canonical(result.fields), types: result.field_types } : {}
    rows = result.map { |row| canonical(row) }
    rows = { rows: rows.length, sha256: Digest::SHA256.hexdigest(JSON.generate(rows)) } if rows.length > MANY_ROWS
    { **about, rows: rows, warnings: warnings }
  end

  def transaction(plan)
    @client.query("SET TRANSACTION ISOLATION LEVEL #{plan['isolation']}") if plan['isolation']
    @client.query(plan['read_only'] ? 'START TRANSACTION READ ONLY' : 'START TRANSACTION')
    all = plan['queries'].map do |sql|
      query(sql)
    rescue Mysql2::Error => e
      { error: canonical(described(e)) }
    end
    @client.query(plan['end'].upcase)
    all
  end

  def bulk(plan)
    statement = @client.prepare(plan['sql'])
    plan['rows'].map { |row| shown(statement.execute(*row.map { |spec| parameter(spec) }), statement) }
  ensure
    statement&.close
  end

  # An unbuffered result of which only the first row is read.
  def abandon(sql)
    result = @client.query(sql, stream: true, cache_rows: false)
    width = result.each.first.length
    result.free
    width
  end
end

# One check: its own connections, closed at the end.
class Check
  def initialize(login)
    @login = login
    @connections = {}
  end

  def connection(name, more = {})
    @connections[name] ||= Connection.new(Mysql2::Client.new(**options(@login.merge(more))))
  end

  def options(given)
    encryption = given.key?(:tls) ? { ssl_mode: given[:tls] ? :required : :disabled } : {}
    {
      host: given[:host], port: given[:port], username: given[:user], password: given[:password],
      database: given[:database], local_infile: true, connect_timeout: 20, read_timeout: 90, as: :array,
      database_timezone: :utc, encoding: given[:charset] || 'utf8mb4',
      flags: Mysql2::Client::MULTI_STATEMENTS | (given[:compress] ? Mysql2::Client::COMPRESS : 0), **encryption
    }
  end

  def run(step)
    step(step)
  rescue Unsupported
    'unsupported'
  rescue StandardError => e
    { error: canonical(described(e)) }
  end

  def step(step)
    kind, argument = step.first
    case kind
    when 'connect' then return connection('other', argument.transform_keys(&:to_sym)).query('SELECT DATABASE(), CURRENT_USER()')
    when 'open' then return connection(argument) && 'open'
    when 'query' then kind = 'big' if step['big']
    end
    on(connection(step['on'] || 'a'), kind, argument, step)
  end

  def on(connection, kind, argument, step)
    case kind
    when 'query' then connection.query(argument)
    when 'big' then connection.query(argument.sub('$big') { step['big'][0] * step['big'][1] })
    when 'execute' then connection.execute(argument, step['params'].map { |spec| parameter(spec) })
    when 'transaction' then connection.transaction(argument)
    when 'bulk' then connection.bulk(argument)
    when 'ping' then connection.client.ping
    when 'use' then connection.client.select_db(argument)
    when 'abandon' then connection.abandon(argument)
    when 'infile' then infile(connection, argument, step['into'])
    when 'missing_infile' then connection.query("LOAD DATA LOCAL INFILE '/nonexistent/file.tsv' INTO TABLE #{argument}")
    when 'kill_query' then kill_query(connection, argument)
    else raise Unsupported # reset, change_user, charset, cursor, pool: mysql2 has no such calls
    end
  end

  def infile(connection, content, table)
    Tempfile.create('sluice') do |file|
      file.write(content)
      file.flush
      return connection.query("LOAD DATA LOCAL INFILE '#{file.path}' INTO TABLE #{table}")
    end
  end

  # KILL QUERY again and again until the statement is gone: one that has not begun yet is not hurt by a KILL.
  def kill_query(connection, sql)
    killer = connection('killer')
    number = connection.client.thread_id
    victim = Thread.new { run_caught(connection, sql) }
    (KILL_SECONDS * 10).times do
      killer.query("KILL QUERY #{number}")
      return victim.value if victim.join(0.1)
    end
    "not killed within #{KILL_SECONDS} s"
  end

  def run_caught(connection, sql)
    connection.query(sql)
  rescue Mysql2::Error => e
    { error: canonical(described(e)) }
  end

  def close
    @connections.each_value do |connection|
      connection.client.close
    rescue Mysql2::Error
      nil # a check may have ended it on purpose
    end
  end
end

login = { host: '127.0.0.1', user: 'clients', password: '', database: 'clients' }
parser = OptionParser.new do |options|
  options.on('--port PORT', Integer)
  %i[host user password database].each { |name| options.on("--#{name} TEXT") }
end
names = parser.parse(ARGV, into: login)
$stdout.sync = true
library = Mysql2::Client.info
puts JSON.generate(version: "mysql2 #{Mysql2::VERSION}, #{library[:version]} client library, Ruby #{RUBY_VERSION}")
JSON.parse(File.read(ENV.fetch('CHECKS_JSON', File.join(__dir__, 'checks.json')))).each do |check|
  next unless names.empty? || names.include?(check['check'])

  run = Check.new(login)
  result = check['steps'].map { |step| run.run(step) }
  run.close
  puts JSON.generate(check: check['check'], result: result)
end
